import Foundation

/// A results file: what was timed, on what, under which conditions, with every sample.
///
/// The same document as `evim-deploy bench` writes (`latency/results.py`), by the same schema
/// (`latency/results.schema.json`): what the schema does not name is refused, and what is not known is left out.
public struct Results: Equatable, Sendable {
    /// Name of the schema.
    public static let schema = "evim-deploy-latency"
    /// Version of the schema that is written, and the newest that is read.
    public static let schemaVersion = 1

    /// Program and version that wrote it.
    public let tool: String
    /// When the run began; kept to the microsecond.
    public let created: Date
    /// The command line that measured it.
    public let command: String?
    /// Whether everything that was asked for was measured.
    public let complete: Bool
    /// Why it is not complete.
    public let incompleteBecause: String?
    /// What departs from what was asked for, and why.
    public let notes: [String]
    /// The machine, in words.
    public let host: Host
    /// How samples were taken; `protocol` in the file.
    public let timingProtocol: TimingProtocol
    /// What the machine told of itself, in order.
    public let readings: [Reading]
    /// What was timed; each id is unique.
    public let contenders: [Contender]

    /// Reads a results file.
    ///
    /// - Throws: ``EvimError/newerSchema(what:version:readable:)`` for a version to come, and
    ///   ``EvimError/damaged(what:why:)`` for whatever else is wrong.
    public init(decoding json: Data) throws(EvimError) {
        let what = "The results file"
        let schema = try decode(SchemaName.self, from: json, what: what).schema
        guard schema == Results.schema else { throw .damaged(what: what, why: "it is no file of latency results") }
        try requireReadableVersion(of: json, within: 1...Results.schemaVersion, what: what)
        self = try decode(Results.self, from: json, what: what)
    }

    /// The file's text, the same for the same results: keys in order, numbers as short as they read back.
    ///
    /// - Throws: `EncodingError` if a number is not finite.
    public func encoded() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(self) + Data("\n".utf8)
    }

    /// Writes the file, whole or not at all.
    ///
    /// - Throws: What ``encoded()`` throws, and `CocoaError` if the file cannot be written.
    public func write(to url: URL) throws {
        try encoded().write(to: url, options: .atomic)
    }
}

private struct SchemaName: Decodable {
    let schema: String?
}

extension Results {
    init(
        tool: String, created: Date, incompleteBecause: String?, notes: [String], host: Host,
        timingProtocol: TimingProtocol, readings: [Reading], contenders: [Contender]
    ) {
        self.tool = tool
        self.created = created
        command = nil
        complete = incompleteBecause == nil
        self.incompleteBecause = incompleteBecause
        self.notes = notes
        self.host = host
        self.timingProtocol = timingProtocol
        self.readings = readings
        self.contenders = contenders
    }
}

extension Results: Codable {
    enum CodingKeys: String, CodingKey {
        case schema, tool, created, command, complete, notes, host, readings, contenders
        case schemaVersion = "schema_version"
        case incompleteBecause = "incomplete_because"
        case timingProtocol = "protocol"
    }

    /// Reads the document, apart from the name and version of its schema.
    ///
    /// - Throws: `DecodingError`.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.strictContainer(keyedBy: CodingKeys.self)
        tool = try values.decode(String.self, forKey: .tool)
        let moment = try values.decode(String.self, forKey: .created)
        guard let date = Timestamp.date(of: moment) else {
            throw DecodingError.dataCorruptedError(
                forKey: .created, in: values, debugDescription: "\(moment) is no date with a time and its zone")
        }
        created = date
        command = try values.decodeIfPresent(String.self, forKey: .command)
        complete = try values.decode(Bool.self, forKey: .complete)
        incompleteBecause = try values.decodeIfPresent(String.self, forKey: .incompleteBecause)
        notes = try values.decode(forKey: .notes, orElse: [])
        host = try values.decode(Host.self, forKey: .host)
        timingProtocol = try values.decode(TimingProtocol.self, forKey: .timingProtocol)
        readings = try values.decode(forKey: .readings, orElse: [])
        contenders = try values.decode([Contender].self, forKey: .contenders)
        var ids: Set<String> = []
        for id in contenders.map(\.id) {
            try values.require(ids.insert(id).inserted, forKey: .contenders, "two contenders have the id \(id)")
        }
    }

    /// Writes the document; nil is left out.
    public func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(Results.schema, forKey: .schema)
        try values.encode(Results.schemaVersion, forKey: .schemaVersion)
        try values.encode(tool, forKey: .tool)
        try values.encode(Timestamp.text(of: created), forKey: .created)
        try values.encodeIfPresent(command, forKey: .command)
        try values.encode(complete, forKey: .complete)
        try values.encodeIfPresent(incompleteBecause, forKey: .incompleteBecause)
        try values.encode(notes, forKey: .notes)
        try values.encode(host, forKey: .host)
        try values.encode(timingProtocol, forKey: .timingProtocol)
        try values.encode(readings, forKey: .readings)
        try values.encode(contenders, forKey: .contenders)
    }
}
