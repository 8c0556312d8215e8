import Foundation

/// One contender while it is measured.
struct BenchmarkContender: Sendable {
    /// That it computes on.
    let units: ComputeUnits
    /// In the results file.
    let id: String
    /// Of those whose rounds are taken together.
    let group: String
    /// Control, or a contender itself.
    let role: Results.Contender.Role

    /// Whether it was loaded and checked, or how that failed.
    private(set) var outcome = Results.Contender.Outcome.notReached
    private(set) var check: Results.Check?
    private(set) var coldStart: Results.ColdStart?
    private(set) var rounds: [Results.Round] = []
    /// Whether all that was asked for was timed, and the answers were checked at the end, too.
    private(set) var isDone = false
    /// Time predicted before the first sample, seconds.
    var warmupSeconds = 0.0
    private var reason: String?

    /// A contender of which nothing is known yet.
    init(units: ComputeUnits, id: String, group: String, role: Results.Contender.Role = .contender) {
        self.units = units
        self.id = id
        self.group = group
        self.role = role
    }

    /// Whether it is to be timed.
    var isAble: Bool { outcome == .measured }

    /// Whether a run that ends now leaves it short of what was asked for, through no fault of its own.
    var isShort: Bool { !isDone && outcome != .failed }

    /// The A/A control: the same model once more, loaded by itself, and the same in all that is known already.
    var twin: BenchmarkContender {
        var twin = BenchmarkContender(units: units, id: id + ContenderGroup.control, group: group, role: .control)
        twin.outcome = outcome
        twin.check = check
        twin.coldStart = coldStart
        twin.warmupSeconds = warmupSeconds
        return twin
    }

    /// Notes that it was loaded, and what a first check said.
    ///
    /// Wrong answers are timed, too, and judged invalid: a Neural Engine may overflow on some images, and how long it
    /// takes is known all the same.
    mutating func noteReady(check: Results.Check, coldStart: Results.ColdStart) {
        outcome = .measured
        self.check = check
        self.coldStart = coldStart
        warmupSeconds = coldStart.firstPredictionSeconds
    }

    /// Keeps a round; one without samples is none.
    mutating func keep(_ round: Results.Round) {
        if !round.samples.isEmpty { rounds.append(round) }
    }

    /// Notes that its last round was timed, and what a last check said; one that was refused stays so.
    mutating func finish(check: Results.Check) {
        if self.check?.status != .different { self.check = check }
        isDone = true
    }

    /// Notes why it is timed no more.
    mutating func fail(_ error: any Error) {
        outcome = .failed
        reason = error.localizedDescription
    }

    /// What the file says of it; `interruption` is what ended the run before it was complete.
    func record(
        of subject: BenchmarkSubject, engineVersion: String, isPhone: Bool, interruption: String
    ) -> Results.Contender {
        Results.Contender(
            id: id, group: group, role: role, subject: subject.record, engine: "coreml", engineVersion: engineVersion,
            mode: units.rawValue, setting: subject.setting(isPhone: isPhone), device: "coreml",
            precision: subject.precision, threads: nil, height: subject.height, width: subject.width,
            batch: subject.batch, batchAsked: subject.batch,
            outcome: isAble && rounds.isEmpty ? .notReached : outcome, reason: isShort ? interruption : reason,
            check: check, coldStart: coldStart, memory: nil, attempts: [], warmupSeconds: warmupSeconds,
            rounds: rounds, breakdown: nil)
    }
}

extension BenchmarkSubject {
    /// What the file says of it.
    fileprivate var record: Results.Subject {
        Results.Subject(
            kind: .model, name: name, source: source, weights: weights, form: form, parameters: nil, paper: paper)
    }
}
