import Foundation

/// Times a model on compute units, and gives a results file.
///
/// What it knows of Core ML, the clock and the device is behind protocols, so that the same run goes with fakes.
///
/// - Each contender is loaded, predicts once, is checked against the golden file, warmed up, timed round by round,
///   and checked again.
/// - A contender that fails is left, and the others go on.
/// - A cancelled task ends the run, which keeps what was measured.
public struct BenchmarkRunner: Sendable {
    let subject: BenchmarkSubject
    let golden: Golden?
    let loader: any ModelLoader
    let clock: any MonotonicClock
    let device: any DeviceMonitor
    let host: Results.Host
    let isPhone: Bool
    let tool: String
    let created: Date

    /// A runner for one model on one device.
    ///
    /// - Parameters:
    ///   - subject: The model, as the file tells it.
    ///   - golden: What the model must answer; without it the file says that nothing was checked.
    ///   - loader: Loads the model.
    ///   - clock: Takes the times.
    ///   - device: Tells how hot the device is.
    ///   - host: The device, in words.
    ///   - isPhone: Whether its times may stand beside the paper's iPhone.
    ///   - tool: Program and version that writes the file.
    ///   - created: When the run begins.
    public init(
        subject: BenchmarkSubject, golden: Golden?, loader: any ModelLoader, clock: any MonotonicClock,
        device: any DeviceMonitor, host: Results.Host, isPhone: Bool, tool: String, created: Date
    ) {
        self.subject = subject
        self.golden = golden
        self.loader = loader
        self.clock = clock
        self.device = device
        self.host = host
        self.isPhone = isPhone
        self.tool = tool
        self.created = created
    }

    /// Measures what is asked for.
    ///
    /// It throws nothing: what goes wrong is in the file.
    ///
    /// - Parameters:
    ///   - request: Mode, compute units and seed.
    ///   - progress: Is told at least once a second of timing, between predictions that are timed.
    /// - Returns: The file, to be written.
    public func run(
        _ request: BenchmarkRequest, progress: @escaping @Sendable (BenchmarkProgress) -> Void = { _ in }
    ) async -> Results {
        var run = BenchmarkRun(of: self, request, progress)
        return await run.measure()
    }
}
