/// Loads one model for any compute units.
public protocol ModelLoader: Sendable {
    /// The model, ready to predict on the units.
    ///
    /// Each call loads it anew, so that a benchmark can time the loading.
    func load(_ units: ComputeUnits) async throws -> any LoadedModel
}

/// A model that is loaded.
public protocol LoadedModel: Sendable {
    /// The model's outputs for each case of a golden file, in order, by the names of the outputs.
    func outputs(of golden: Golden) async throws -> [[String: [Float]]]

    /// Times predictions on one prepared input, with ``Burst/time(by:_:)``.
    ///
    /// What is timed is the prediction alone: preprocessing and the allocation of the input come before.
    func time(_ burst: Burst, by clock: any MonotonicClock) async throws -> [Double]
}
