/// The steps of timing one contender.
struct ContenderTimer: Sendable {
    /// Longest burst that is timed without telling how far it is, seconds.
    private static let slice = 1.0

    let loader: any ModelLoader
    let clock: any MonotonicClock
    let golden: GoldenCheck
    let mode: BenchmarkMode

    /// A model for the first time, with what that and its first prediction took.
    ///
    /// - Throws: `CancellationError`, ``EvimError/clockWentBackwards(seconds:)``, and what the loader and the model
    ///   throw.
    func open(_ units: ComputeUnits) async throws -> (any LoadedModel, Results.ColdStart) {
        let started = clock.now()
        let model = try await loader.load(units)
        let loaded = (clock.now() - started).toNanoseconds
        guard loaded >= 0 else { throw EvimError.clockWentBackwards(seconds: loaded) }
        let first = try await model.time(Burst(leastSamples: 1), by: clock)
        guard let prediction = first.first else { throw CancellationError() }
        return (model, Results.ColdStart(loadSeconds: loaded, firstPredictionSeconds: prediction))
    }

    /// A model anew, its first prediction made and discarded.
    func reopen(_ units: ComputeUnits) async throws -> any LoadedModel {
        let model = try await loader.load(units)
        _ = try await model.time(Burst(leastSamples: 1), by: clock)
        return model
    }

    /// Predicts for as long as the mode warms up.
    ///
    /// - Parameters:
    ///   - model: That is loaded.
    ///   - look: Is told the predictions so far, about once a second.
    /// - Returns: The time predicted, seconds.
    /// - Throws: What the model throws.
    func warmUp(_ model: any LoadedModel, _ look: ([Double]) -> Void) async throws -> Double {
        guard mode.warmupSeconds > 0 else { return 0 }
        return try await samples(of: model, Burst(leastSamples: 1, leastSeconds: mode.warmupSeconds), look)
            .reduce(0, +).toNanoseconds
    }

    /// Times one round.
    ///
    /// - Parameters:
    ///   - model: That is loaded.
    ///   - look: Is told the samples so far, about once a second.
    /// - Returns: The samples, seconds; fewer than asked for if the task is cancelled.
    /// - Throws: What the model throws.
    func takeRound(of model: any LoadedModel, _ look: ([Double]) -> Void) async throws -> [Double] {
        try await samples(of: model, mode.round, look)
    }

    private func samples(
        of model: any LoadedModel, _ burst: Burst, _ look: ([Double]) -> Void
    ) async throws -> [Double] {
        var samples: [Double] = []
        var spent = 0.0
        repeat {
            let slice = Burst(
                leastSamples: burst.leastSamples - samples.count,
                leastSeconds: min(burst.leastSeconds - spent, Self.slice))
            let taken = try await model.time(slice, by: clock)
            guard !taken.isEmpty else { break }
            samples += taken
            spent += taken.reduce(0, +)
            look(samples)
        } while !Task.isCancelled && (samples.count < burst.leastSamples || spent < burst.leastSeconds)
        return samples
    }
}

extension BenchmarkMode {
    /// What is timed of a contender in one round.
    var round: Burst {
        Burst(leastSamples: samplesPerRound ?? 1, leastSeconds: seconds / Double(rounds))
    }

    /// How much of a round so many samples are, 0 to 1.
    func shareOfRound(_ samples: [Double]) -> Double {
        if let samplesPerRound { return min(Double(samples.count) / Double(samplesPerRound), 1) }
        return min(samples.reduce(0, +) * Double(rounds) / seconds, 1)
    }
}
