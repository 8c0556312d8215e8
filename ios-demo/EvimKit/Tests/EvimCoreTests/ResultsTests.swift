import Foundation
import Testing

@testable import EvimCore

@Suite struct ResultsTests {
    @Test func writesWhatPythonWrote() throws {
        let json = try Fixtures.data("results.json")
        let results = try Results(decoding: json)
        let written = try JSONDecoder().decode(JSONValue.self, from: results.encoded())
        #expect(try written == Fixtures.decode(JSONValue.self, "results.json"))
        #expect(try Results(decoding: results.encoded()) == results)
    }

    @Test func readsEveryPart() throws {
        let results = try Results(decoding: Fixtures.data("results.json"))
        let contender = try #require(results.contenders.first)
        #expect(results.created == Date(timeIntervalSince1970: 1_790_251_200))
        #expect(results.incompleteBecause == "interrupted")
        #expect(results.host.packages == ["EvimKit": "0.1.0"])
        #expect(results.timingProtocol.budgetSeconds == 600)
        #expect(results.readings.first?.thermalState == .nominal)
        #expect(contender.samples == [0.00104, 1.0 / 3, 1e-9])
        #expect(contender.memory?.owner == .process)
        #expect(contender.attempts.first?.outcome == .outOfMemory)
        #expect(contender.breakdown?.first?.operationClass == "convolution 1x1")
        #expect(contender.coldStart == Results.ColdStart(loadSeconds: 0.31, firstPredictionSeconds: 0.0021))
        #expect(contender.check?.status == .equal)
        #expect((contender.check?.error, contender.check?.tolerance) == (0.0121, 0.05))
    }

    @Test(
        arguments: [
            "command", "incomplete_because", "notes", "readings", "host.memory_bytes", "host.accelerator",
            "host.packages", "protocol.budget_s", "protocol.deviations", "readings.0.load_1m",
            "readings.0.thermal_state", "contenders.0.role", "contenders.0.mode", "contenders.0.setting",
            "contenders.0.threads", "contenders.0.reason", "contenders.0.check", "contenders.0.check.error",
            "contenders.0.cold_start", "contenders.0.memory", "contenders.0.attempts", "contenders.0.warmup_s",
            "contenders.0.rounds", "contenders.0.breakdown", "contenders.0.subject.parameters",
            "contenders.0.attempts.0.limit_bytes",
        ])
    func whatIsNotKnownMayBeLeftOut(path: String) throws {
        let results = try Results(decoding: Documents.results(path, nil))
        #expect(try Results(decoding: results.encoded()) == results)
    }

    @Test(arguments: ["command", "host.accelerator", "contenders.0.check", "readings.0.battery_share"])
    func nullIsNotKnown(path: String) throws {
        let results = try Results(decoding: Documents.results(path, NSNull()))
        #expect(results == (try Results(decoding: Documents.results(path, nil))))
    }

    @Test(
        arguments: [
            "tool", "created", "complete", "host", "protocol", "contenders", "host.cores", "protocol.seed",
            "readings.0.at_s", "contenders.0.id", "contenders.0.subject", "contenders.0.outcome",
            "contenders.0.subject.weights", "contenders.0.rounds.0.samples_s", "contenders.0.check.against",
            "contenders.0.cold_start.load_s", "contenders.0.memory.of", "contenders.0.attempts.0.batch",
            "contenders.0.breakdown.0.calls", "schema_version",
        ])
    func whatMustBeThereIsMissed(path: String) throws {
        let file = try Documents.results(path, nil)
        #expect(damage { try Results(decoding: file) }?.contains("is missing") == true)
    }

    @Test(
        arguments: [
            "", "host.", "protocol.", "readings.0.", "contenders.0.", "contenders.0.subject.", "contenders.0.check.",
            "contenders.0.cold_start.", "contenders.0.memory.", "contenders.0.attempts.0.", "contenders.0.rounds.0.",
            "contenders.0.breakdown.0.",
        ])
    func anUnknownKeyIsNamed(place: String) throws {
        let file = try Documents.results("\(place)colour", "blue")
        #expect(damage { try Results(decoding: file) } == "\(place)colour: it is unknown")
    }

    @Test(
        arguments: [
            ("created", "yesterday"), ("created", 3), ("complete", 1), ("host.cores", 0), ("host.cores", 1.5),
            ("host.memory_bytes", 0), ("protocol.seconds", -1), ("protocol.rounds", 0), ("notes", NSNull()),
            ("readings.0.at_s", -0.1), ("readings.0.phase", "later"), ("readings.0.thermal_state", "hot"),
            ("readings.0.battery_share", -1), ("contenders.0.role", "judge"), ("contenders.0.setting", "ipad"),
            ("contenders.0.threads", 0), ("contenders.0.height", 0), ("contenders.0.batch", "one"),
            ("contenders.0.outcome", "lost"), ("contenders.0.warmup_s", -1), ("contenders.0.subject.kind", "toy"),
            ("contenders.0.check.status", "nearly"), ("contenders.0.check.error", -1),
            ("contenders.0.cold_start.load_s", -1), ("contenders.0.memory.of", "disk"),
            ("contenders.0.attempts.0.outcome", "maybe"), ("contenders.0.rounds.0.samples_s", [Double]()),
            ("contenders.0.rounds.0.samples_s", [0.001, 0]), ("contenders.0.rounds.0.started_s", -1),
            ("contenders.0.breakdown.0.seconds", -1), ("schema", "evim-deploy-golden"), ("schema", NSNull()),
            ("schema_version", 0), ("schema_version", "one"),
        ] as [(String, any Sendable)])
    func aWrongValueIsRefused(path: String, value: any Sendable) throws {
        let file = try Documents.results(path, value)
        #expect(damage { try Results(decoding: file) } != nil)
    }

    @Test func twoContendersOfOneIdAreRefused() throws {
        var document = try #require(
            JSONSerialization.jsonObject(with: Fixtures.data("results.json")) as? [String: Any])
        let contenders = try #require(document["contenders"] as? [Any])
        document["contenders"] = contenders + contenders
        let file = try JSONSerialization.data(withJSONObject: document)
        #expect(damage { try Results(decoding: file) }?.contains("two contenders have the id EfficientViM-M4") == true)
    }

    @Test(arguments: [2, 90])
    func aVersionToComeIsNamedWhateverElseIsThere(version: Int) throws {
        let file = Data(#"{"schema": "evim-deploy-latency", "schema_version": \#(version), "colour": 1}"#.utf8)
        #expect(throws: EvimError.newerSchema(what: "The results file", version: version, readable: 1)) {
            try Results(decoding: file)
        }
    }

    @Test(arguments: [0, 1, 100, 1500, 2200])
    func aTruncatedFileIsDamaged(length: Int) throws {
        let file = try Fixtures.data("results.json").prefix(length)
        #expect(damage { try Results(decoding: file) } != nil)
    }

    @Test(arguments: ["[]", "3", "null", "not JSON", #"{"schema_version": 1}"#, String(repeating: "[", count: 100_000)])
    func whatIsNoResultsFileIsRefused(text: String) {
        #expect(damage { try Results(decoding: Data(text.utf8)) } != nil)
    }

    @Test func numbersAreAsShortAsTheyReadBack() throws {
        let text = try String(decoding: Results(decoding: Fixtures.data("results.json")).encoded(), as: UTF8.self)
        #expect(text.contains("0.3333333333333333\n") || text.contains("0.3333333333333333,"))
        #expect(text.contains(" 0.00104,"))
        #expect(text.hasSuffix("}\n"))
    }

    @Test func theFileIsReplacedWhole() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let results = try Results(decoding: Fixtures.data("results.json"))
        let url = folder.appending(path: "device.json")
        try Data("old".utf8).write(to: url)
        try results.write(to: url)
        #expect(try Results(decoding: Data(contentsOf: url)) == results)
        #expect(throws: (any Error).self) { try results.write(to: folder.appending(path: "none/device.json")) }
    }
}

extension Documents {
    /// The results file that Python wrote, with another value at a path; nil removes it.
    fileprivate static func results(_ path: String, _ value: Any?) throws -> Data {
        let document = try JSONSerialization.jsonObject(with: Fixtures.data("results.json"))
        return try JSONSerialization.data(
            withJSONObject: changed(document, path.split(separator: ".").map(String.init)[...], value))
    }

    private static func changed(_ node: Any, _ path: ArraySlice<String>, _ value: Any?) -> Any {
        guard let step = path.first else { return value ?? NSNull() }
        if var list = node as? [Any], let place = Int(step) {
            list[place] = changed(list[place], path.dropFirst(), value)
            return list
        }
        var object = node as? [String: Any] ?? [:]
        let isLast = path.count == 1
        object[step] = isLast ? value : changed(object[step] ?? [String: Any](), path.dropFirst(), value)
        return object
    }
}
