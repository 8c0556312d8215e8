/// What the app is told at its start, `--benchmark` above all, so that a script can run it.
///
/// ```
/// --benchmark [--modes paper,modelbench,sustained] [--units all,cpuOnly] [--model NAME] [--seconds S] [--rounds N]
/// ```
public struct LaunchArguments: Equatable, Sendable {
    /// Whether the app measures at once and writes its results.
    public let runsBenchmark: Bool
    /// Modes, each once, in order.
    public let modes: [BenchmarkMode]
    /// Compute units, each once, in order.
    public let units: [ComputeUnits]
    /// The one model to time; nil for all that the app has.
    public let model: String?
    /// Seconds of timing instead of the mode's.
    public let seconds: Double?
    /// Rounds instead of the mode's.
    public let rounds: Int?

    /// Reads the arguments of a process.
    ///
    /// Apple's own `-Key value` pairs are passed over.
    ///
    /// - Parameter arguments: As `CommandLine.arguments` has them: the first is the program.
    /// - Throws: ``EvimError/usage(_:)`` for an argument that is unknown, given twice, without its value or of a
    ///   wrong one, and for one that is nothing without `--benchmark`.
    public init(_ arguments: [String]) throws(EvimError) {
        var given = try Self.options(Array(arguments.dropFirst()))
        runsBenchmark = given.removeValue(forKey: .benchmark) != nil
        if !runsBenchmark, let option = given.keys.map(\.rawValue).min() {
            throw .usage("--\(option) is for --benchmark, which is not given.")
        }
        modes = try Self.list(given[.modes], all: BenchmarkMode.all, BenchmarkMode.named)
        units = try Self.list(given[.units], all: ComputeUnits.allCases, ComputeUnits.named)
        model = given[.model]
        seconds = try Self.number(given[.seconds], of: .seconds, Double.init)
        rounds = try Self.number(given[.rounds], of: .rounds) { Int($0) }
        try BenchmarkRequest.check(seconds: seconds, rounds: rounds)
    }

    /// What is asked of the benchmark, mode by mode.
    ///
    /// - Parameter seed: Of the order of the compute units in each round.
    /// - Returns: A request for each mode, in order.
    /// - Throws: ``EvimError/usage(_:)``, though not for arguments that ``init(_:)`` read.
    public func requests(seed: Int = 0) throws(EvimError) -> [BenchmarkRequest] {
        var requests: [BenchmarkRequest] = []
        for mode in modes {
            requests.append(
                try BenchmarkRequest(mode: mode, units: units, seed: seed, seconds: seconds, rounds: rounds))
        }
        return requests
    }

    private enum Option: String, CaseIterable {
        case benchmark, modes, units, model, seconds, rounds
    }

    /// The value of each option that is given; that of `--benchmark` is empty.
    private static func options(_ arguments: [String]) throws(EvimError) -> [Option: String] {
        var found: [Option: String] = [:]
        var rest = arguments[...]
        while let argument = rest.popFirst() {
            if !argument.hasPrefix("--") {
                guard argument.hasPrefix("-") else { throw .usage("\(argument) stands behind no option.") }
                if rest.first?.hasPrefix("-") == false { rest.removeFirst() }
                continue
            }
            guard let option = Option(rawValue: String(argument.dropFirst(2))) else {
                let names = Option.allCases.map { "--\($0.rawValue)" }.joined(separator: ", ")
                throw .usage("There is no \(argument). There are \(names).")
            }
            guard found[option] == nil else { throw .usage("\(argument) is given twice.") }
            found[option] = option == .benchmark ? "" : try value(of: argument, from: &rest)
        }
        return found
    }

    private static func value(of argument: String, from rest: inout ArraySlice<String>) throws(EvimError) -> String {
        guard let value = rest.popFirst(), !value.isEmpty, !value.hasPrefix("--") else {
            throw .usage("\(argument) has no value.")
        }
        return value
    }

    /// What the names in a list with commas stand for, each once; all without a list.
    private static func list<Row: Equatable>(
        _ text: String?, all: [Row], _ named: (String) throws(EvimError) -> Row
    ) throws(EvimError) -> [Row] {
        guard let text else { return all }
        var rows: [Row] = []
        for name in text.split(separator: ",", omittingEmptySubsequences: false) {
            let row = try named(String(name))
            if !rows.contains(row) { rows.append(row) }
        }
        return rows
    }

    private static func number<Number>(
        _ text: String?, of option: Option, _ parse: (String) -> Number?
    ) throws(EvimError) -> Number? {
        guard let text else { return nil }
        guard let number = parse(text) else { throw .usage("--\(option.rawValue) \(text) is no number.") }
        return number
    }
}
