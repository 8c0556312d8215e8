import EvimCore
import Foundation
import Testing

@testable import EvimDemo

/// A short benchmark, from the request to the file and what the screens make of it.
@Suite(.enabled(if: Bundled.hasModels, "\(Bundled.reason)"), .serialized)
struct BenchmarkTests {
    private let request: BenchmarkRequest

    init() throws {
        request = try BenchmarkRequest(mode: .sustained, units: [.cpuOnly], seconds: 1, rounds: 2)
    }

    @Test(arguments: Bundled.models)
    func aBenchmarkWritesAFileThatIsReadBack(_ model: BundledModel) async throws {
        let results = try await ModelBenchmark(model: model).run(request) { _ in }
        let folder = ResultsFolder(url: .temporaryDirectory.appending(component: UUID().uuidString))
        try FileManager.default.createDirectory(at: folder.url, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder.url) }

        let file = try folder.write(results, of: model)
        #expect(file.lastPathComponent == "evim-\(model.name)-sustained.json")
        try folder.add(results, of: model)
        let files = folder.files()
        #expect(files.count == 2)
        for file in files {
            #expect(try file.contents.get().contenders == results.contenders)
        }
    }

    @Test(arguments: Bundled.models)
    func theScreensShowEverySampleAndRound(_ model: BundledModel) async throws {
        let results = try await ModelBenchmark(model: model).run(request) { _ in }
        #expect(results.complete)
        let contender = try #require(results.contenders.first)
        #expect(contender.check?.status == .equal)
        #expect(TimedRound.all(of: results).map(\.number) == [1, 2])
        let buckets = SampleBucket.all(of: results)
        #expect((1...min(150, contender.samples.count)).contains(buckets.count))
        #expect(buckets.map(\.slowest).max() == contender.samples.max().map { $0 * 1000 })
        let summary = try Summary(contender.samples)
        #expect(Steady(of: contender, summary: summary, mode: "sustained").seconds == summary.median)
    }

    @Test(.timeLimit(.minutes(5)), arguments: Bundled.models)
    @MainActor func aStoppedBenchmarkKeepsWhatItHas(_ model: BundledModel) async throws {
        let session = BenchmarkSession()
        let long = try BenchmarkRequest(mode: .sustained, units: [.cpuOnly], seconds: 600, rounds: 600)
        async let measured = session.run(long, of: model)
        while (session.progress?.round ?? 0) < 2 { try await Task.sleep(for: .milliseconds(50)) }
        session.stop()
        let results = try await measured
        #expect(!results.complete)
        #expect(results.contenders.first?.samples.isEmpty == false)
        #expect(!session.isRunning)
    }
}
