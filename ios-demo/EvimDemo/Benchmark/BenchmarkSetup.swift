import EvimCore

/// What a person chose to measure.
struct BenchmarkSetup {
    /// A mode's name.
    var mode = BenchmarkMode.paper.name
    /// The compute units that are measured.
    var units = Set(ComputeUnits.allCases)

    /// Whether compute units are measured.
    subscript(isChosen one: ComputeUnits) -> Bool {
        get { units.contains(one) }
        set {
            if newValue { units.insert(one) } else { units.remove(one) }
        }
    }

    /// The request, its order of rounds drawn anew.
    ///
    /// - Throws: `EvimError.usage` where nothing was chosen.
    func request() throws(EvimError) -> BenchmarkRequest {
        try BenchmarkRequest(
            mode: .named(mode), units: ComputeUnits.allCases.filter(units.contains), seed: .random(in: 0...0xFFFF))
    }
}
