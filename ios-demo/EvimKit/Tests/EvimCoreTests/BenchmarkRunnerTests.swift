import Foundation
import Testing

@testable import EvimCore

@Suite struct BenchmarkRunnerTests {
    @Test func paperTimesEachAloneForItsTime() async throws {
        let bench = try Bench([.cpuOnly: FakeBehavior(seconds: 0.5)])
        let results = await bench.run(try BenchmarkRequest(mode: .paper, units: [.all, .cpuOnly]))
        #expect(results.complete)
        #expect(results.contenders.map(\.group) == results.contenders.map(\.id))
        #expect(results.contenders.map(\.rounds.count) == [1, 1])
        #expect(results.contenders.allSatisfy { $0.role == .contender && $0.setting == .iphone && $0.batchAsked == 1 })
        #expect(results.contenders.allSatisfy { $0.engineVersion == "iOS 18.1" && $0.threads == nil })
        let slow = try #require(results.contender(on: .cpuOnly))
        #expect(slow.samples.reduce(0, +) >= 60 && slow.samples.reduce(0, +) < 61)
        #expect(slow.warmupSeconds >= 10 && slow.warmupSeconds < 12)
        #expect(slow.coldStart?.loadSeconds == 0.25)
        #expect(slow.check?.status == .equal)
        #expect(bench.loader.counts { $0.loads } == [.all, .cpuOnly])
        #expect(results.timingProtocol.name == "paper")
        #expect((results.timingProtocol.seconds, results.timingProtocol.warmupSeconds) == (60, 10))
    }

    @Test func modelbenchReloadsAndInterleaves() async throws {
        let bench = try Bench()
        let results = await bench.run(try BenchmarkRequest(mode: .modelbench, seed: 5))
        #expect(results.complete)
        #expect(results.contenders.map(\.role) == [.contender, .contender, .contender, .contender, .control])
        #expect(results.contenders.last?.id == results.contenders.first.map { "\($0.id), control" })
        #expect(Set(results.contenders.map(\.group)) == ["coreml, own size, batch 1"])
        #expect(results.contenders.allSatisfy { $0.rounds.map(\.index) == Array(0..<20) })
        #expect(results.contenders.allSatisfy { $0.rounds.allSatisfy { $0.samples.count == 50 } })
        // one load to try each, then one of each a round, the control among them
        #expect(bench.loader.counts { $0.loads.count } == 4 + 5 * 20)
        // of each round and of the trial the first prediction does not count
        #expect(bench.loader.counts { $0.predictions[.cpuOnly] } == 1 + 20 * 51)
        let orders = (0..<20).map { round in
            results.contenders.sorted { $0.rounds[round].startedSeconds < $1.rounds[round].startedSeconds }.map(\.id)
        }
        #expect(Set(orders).count > 10)
        #expect(Validity.judge(results).values.allSatisfy { $0.status == .valid })
    }

    @Test func theSeedDecidesTheOrder() async throws {
        func order(seed: Int) async throws -> [ComputeUnits] {
            let bench = try Bench()
            _ = await bench.run(try BenchmarkRequest(mode: .modelbench, seed: seed, rounds: 5))
            return bench.loader.counts { $0.loads }
        }
        #expect(try await order(seed: 1) == order(seed: 1))
        #expect(try await order(seed: 1) != order(seed: 2))
    }

    @Test func sustainedNeitherWarmsUpNorWaits() async throws {
        let slows = FakeBehavior(seconds: 0.05, slows: (1.3, 1200))
        let bench = try Bench([.all: slows], states: [.serious])
        let results = await bench.run(try BenchmarkRequest(mode: .sustained, units: [.all]))
        let contender = try #require(results.contenders.first)
        #expect(results.notes.isEmpty)
        #expect(contender.rounds.count == 30)
        #expect(contender.rounds.allSatisfy { $0.samples.reduce(0, +) >= 10 })
        #expect(contender.warmupSeconds == contender.coldStart?.firstPredictionSeconds)
        #expect(
            Validity.judge(results)[contender.id]?.reasons
                == ["the device was hot", "it took 1.30 times as long at the end as at the beginning"])
    }

    @Test func readsTheDeviceBeforeEachRoundAndAtTheEnds() async throws {
        var bench = try Bench()
        bench.device = FakeDevice([.nominal, .fair], clock: bench.clock, lowPowerMode: true)
        let results = await bench.run(try BenchmarkRequest(mode: .sustained, units: [.all], seconds: 1, rounds: 3))
        #expect(results.readings.map(\.phase) == [.before, .during, .during, .during, .during, .after])
        #expect(results.readings.map(\.thermalState) == [.nominal, .fair, .fair, .fair, .fair, .fair])
        #expect(results.readings.allSatisfy { $0.lowPowerMode == true && $0.batteryShare == 0.8 })
        #expect(results.readings.map(\.atSeconds) == results.readings.map(\.atSeconds).sorted())
        let reasons = Validity.judge(results).values.flatMap(\.reasons)
        #expect(reasons == ["low power mode was on"])
    }

    @Test func aHotDeviceIsLetCool() async throws {
        let bench = try Bench(states: [.nominal, .serious, .serious, .nominal])
        let results = await bench.run(try BenchmarkRequest(mode: .modelbench, units: [.all, .cpuOnly], rounds: 5))
        #expect(results.notes == ["The device was hot and was let cool for 10 s before it was timed: all, cpuOnly."])
        #expect(results.complete)
    }

    @Test func progressGoesFromNothingToAll() async throws {
        let bench = try Bench([.all: FakeBehavior(seconds: 0.1)])
        let heard = Locked<[BenchmarkProgress]>([])
        let request = try BenchmarkRequest(mode: .sustained, units: [.all, .cpuOnly], seconds: 9, rounds: 3)
        _ = await bench.run(request) { progress in heard { $0.append(progress) } }
        let told = heard { $0 }
        #expect(told.map(\.fraction) == told.map(\.fraction).sorted())
        #expect(told.first?.fraction == 0)
        #expect(told.last?.fraction == 1)
        #expect(Set(told.map(\.round)) == [0, 1, 2, 3])
        #expect(told.allSatisfy { $0.rounds == 3 && $0.thermal == .nominal })
        #expect(told.filter { $0.units == .all }.map(\.samples.count).max() ?? 0 >= 90)
        // about once a second of timing
        #expect(told.count { $0.units == .all && $0.round == 1 } >= 3)
    }

    @Test func aMacIsNoPhone() async throws {
        var bench = try Bench()
        bench.isPhone = false
        let results = await bench.run(try BenchmarkRequest(mode: .modelbench, rounds: 1))
        #expect(results.contenders.allSatisfy { $0.setting == nil })
    }
}
