import EvimCore

/// What the app does, by the arguments that it was launched with.
enum Launch {
    /// It shows its tabs.
    case tabs
    /// It measures, without any touch.
    case benchmark(LaunchArguments)
    /// It does not understand the arguments.
    case refused(Failure)

    init(arguments: [String]) {
        do {
            let parsed = try LaunchArguments(arguments)
            self = parsed.runsBenchmark ? .benchmark(parsed) : .tabs
        } catch {
            self = .refused(Failure(error))
        }
    }
}
