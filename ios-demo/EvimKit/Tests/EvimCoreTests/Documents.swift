import Foundation
import Testing

@testable import EvimCore

/// Documents and files for tests, each with one thing changed.
enum Documents {
    /// A manifest as Python wrote it, with other values under some keys; nil removes a key.
    static func manifest(_ changes: [String: (any Sendable)?] = [:]) throws -> Data {
        try changed(Fixtures.data("manifest.json"), changes)
    }

    /// A JSON object with other values under some keys; nil removes a key.
    static func changed(_ json: Data, _ changes: [String: (any Sendable)?]) throws -> Data {
        var document = try JSONSerialization.jsonObject(with: json) as? [String: Any] ?? [:]
        for (key, value) in changes { document[key] = value }
        return try JSONSerialization.data(withJSONObject: document)
    }

    /// Labels of as many classes as there are names.
    static func labels(_ names: [String]) throws -> Labels {
        let manifest = try Manifest(decoding: manifest(["num_classes": names.count]))
        return try Labels(decoding: JSONEncoder().encode(names), for: manifest)
    }

    /// A safetensors file of a header and the arrays' bytes.
    static func safetensors(header: String, bytes: [UInt8] = [], length: UInt64? = nil) -> Data {
        let json = Data(header.utf8)
        let count = length ?? UInt64(json.count)
        return Data((0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }) + json + Data(bytes)
    }

    /// The bytes of floats as a file has them.
    static func bytes(_ floats: [Float]) -> [UInt8] {
        floats.flatMap { float in (0..<4).map { UInt8(truncatingIfNeeded: float.bitPattern >> (8 * $0)) } }
    }
}

/// Why a document is called damaged; nil where it is not refused, or for another reason.
func damage(_ read: () throws -> Any) -> String? {
    do {
        _ = try read()
    } catch EvimError.damaged(_, let why) {
        return why
    } catch {
        Issue.record("refused as \(error)")
    }
    return nil
}
