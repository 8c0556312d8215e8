/// The parts of a phone that Core ML may compute on, by the names of `MLComputeUnits` in Swift.
///
/// A results file has them as a contender's `mode`.
public enum ComputeUnits: String, CaseIterable, Codable, Sendable {
    /// All of them, as Core ML chooses.
    case all
    /// The processor alone.
    case cpuOnly
    /// The processor and the GPU.
    case cpuAndGPU
    /// The processor and the Neural Engine.
    case cpuAndNeuralEngine

    /// Units by a name of the command line.
    ///
    /// - Throws: ``EvimError/usage(_:)``, which lists the names.
    public static func named(_ name: String) throws(EvimError) -> ComputeUnits {
        guard let units = ComputeUnits(rawValue: name) else {
            let names = allCases.map(\.rawValue).joined(separator: ", ")
            throw .usage("There are no compute units \(name). Name some of \(names).")
        }
        return units
    }
}
