/// One run of a ``BenchmarkRunner``: `latency/session.py` on a phone.
struct BenchmarkRun {
    private static let interrupted = "interrupted"

    private let runner: BenchmarkRunner
    private let request: BenchmarkRequest
    private let timer: ContenderTimer
    private let progress: @Sendable (BenchmarkProgress) -> Void
    private var timeline: Timeline
    private var contenders: [BenchmarkContender]
    private var readings: [Results.Reading] = []
    private var notes: [String] = []
    private var thermal = ThermalState.nominal

    private var mode: BenchmarkMode { request.mode }

    init(
        of runner: BenchmarkRunner, _ request: BenchmarkRequest,
        _ progress: @escaping @Sendable (BenchmarkProgress) -> Void
    ) {
        self.runner = runner
        self.request = request
        self.progress = progress
        let golden = GoldenCheck(golden: runner.golden)
        timer = ContenderTimer(loader: runner.loader, clock: runner.clock, golden: golden, mode: request.mode)
        timeline = Timeline(clock: runner.clock)
        contenders = request.units.map { units in
            let id = runner.subject.id(on: units)
            let group = request.mode.interleaves ? runner.subject.group : id
            return BenchmarkContender(units: units, id: id, group: group)
        }
    }

    /// Measures everything that is asked for, or as much as comes before the task is cancelled.
    mutating func measure() async -> Results {
        await read(.before)
        let everyone = Array(contenders.indices)
        for places in mode.interleaves ? [everyone] : everyone.map({ [$0] }) where !Task.isCancelled {
            await letCool(before: places)
            await measure(places)
        }
        await read(.after)
        return results
    }

    /// Measures contenders whose rounds are taken together.
    private mutating func measure(_ places: [Int]) async {
        var models: [Int: any LoadedModel] = [:]
        for place in places where !Task.isCancelled {
            models[place] = await makeReady(place)
        }
        var able = places.filter { contenders[$0].isAble }
        guard let first = able.first else { return }
        if mode.interleaves {
            able.append(contenders.count)
            contenders.append(contenders[first].twin)
        }
        if mode.reloadsEachRound { models = [:] }
        await takeRounds(of: able, models)
    }

    private mutating func takeRounds(of places: [Int], _ models: [Int: any LoadedModel]) async {
        var generator = SeededGenerator(seed: request.seed)
        for round in 0..<mode.rounds where !Task.isCancelled && places.contains(where: { contenders[$0].isAble }) {
            await read(.during)
            for turn in generator.permutation(of: places.count) {
                let place = places[turn]
                if contenders[place].isAble, !Task.isCancelled { await take(round, of: place, models[place]) }
            }
        }
        // of a contender that is timed alone this tells whether it made the device hot
        await read(.during)
    }

    /// Loads, checks and warms up a contender; nil if that fails, or the run is interrupted.
    private mutating func makeReady(_ place: Int) async -> (any LoadedModel)? {
        report(place, round: 0)
        do {
            let (model, coldStart) = try await timer.open(contenders[place].units)
            contenders[place].noteReady(check: try await timer.golden.check(model), coldStart: coldStart)
            let warmup = try await timer.warmUp(model) { _ in report(place, round: 0) }
            contenders[place].warmupSeconds += warmup
            return model
        } catch {
            note(error, of: place)
            return nil
        }
    }

    /// Times a round of a contender, which without a model at hand is loaded anew.
    private mutating func take(_ index: Int, of place: Int, _ model: (any LoadedModel)?) async {
        do {
            let model = if let model { model } else { try await timer.reopen(contenders[place].units) }
            let started = timeline.elapsed()
            let samples = try await timer.takeRound(of: model) { report(place, round: index + 1, $0) }
            contenders[place].keep(Results.Round(index: index, startedSeconds: started, samples: samples))
            guard index + 1 == mode.rounds, !Task.isCancelled else { return }
            contenders[place].finish(check: try await timer.golden.check(model))
        } catch {
            note(error, of: place)
        }
    }

    /// What goes wrong in a task that is cancelled is no fault of the contender.
    private mutating func note(_ error: any Error, of place: Int) {
        if !Task.isCancelled { contenders[place].fail(error) }
    }

    private mutating func letCool(before places: [Int]) async {
        guard mode.waitsUntilCool else { return }
        let names = places.map { contenders[$0].units.rawValue }.joined(separator: ", ")
        let wait = ThermalWait(device: runner.device, clock: runner.clock)
        let note = await wait.untilCool(before: names) { report(places[0], round: 0, thermal: $0.thermal) }
        if let note { notes.append(note) }
    }

    private mutating func read(_ phase: Results.Reading.Phase) async {
        // the moment before the question, so that it is earlier than the round that follows
        let asked = timeline.elapsed()
        let state = await runner.device.state()
        thermal = state.thermal
        readings.append(
            Results.Reading(
                atSeconds: asked, phase: phase, thermalState: state.thermal,
                lowPowerMode: state.lowPowerMode, batteryShare: state.batteryShare))
    }

    /// Tells how far the run is.
    private func report(_ place: Int, round: Int, _ samples: [Double] = [], thermal: ThermalState? = nil) {
        let contender = contenders[place]
        let whole = Double((request.units.count + (mode.interleaves ? 1 : 0)) * mode.rounds)
        let done = contenders.reduce(0) { $0 + ($1.outcome == .failed ? mode.rounds : $1.rounds.count) }
        progress(
            BenchmarkProgress(
                fraction: min((Double(done) + mode.shareOfRound(samples)) / whole, 1), contender: contender.id,
                units: contender.units, round: round, rounds: mode.rounds, thermal: thermal ?? self.thermal,
                samples: contender.rounds.flatMap(\.samples) + samples))
    }

    private var results: Results {
        let isShort = contenders.contains(where: \.isShort)
        let records = contenders.map { contender in
            contender.record(
                of: runner.subject, engineVersion: runner.host.system, isPhone: runner.isPhone,
                interruption: Self.interrupted)
        }
        return Results(
            tool: runner.tool, created: runner.created, incompleteBecause: isShort ? Self.interrupted : nil,
            notes: notes, host: runner.host, timingProtocol: request.timingProtocol, readings: readings,
            contenders: records)
    }
}
