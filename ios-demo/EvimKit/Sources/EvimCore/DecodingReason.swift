import Foundation

extension DecodingError {
    /// Why a document could not be decoded, without a full stop: where in it, and what is wrong there.
    var reason: String {
        switch self {
        case .keyNotFound(let key, let context): "\(Self.place(context))\(key.stringValue) is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            Self.place(context) + Self.sentence(context.debugDescription)
        @unknown default: "it cannot be decoded"
        }
    }

    private static func place(_ context: Context) -> String {
        let path = context.codingPath.map { key in key.intValue.map(String.init) ?? key.stringValue }
        return path.isEmpty ? "" : path.joined(separator: ".") + ": "
    }

    private static func sentence(_ text: String) -> String {
        text.hasSuffix(".") ? String(text.dropLast()) : text
    }
}

extension KeyedDecodingContainer {
    /// Refuses a value.
    ///
    /// - Throws: `DecodingError` with the reason, unless the condition holds.
    func require(_ condition: Bool, forKey key: Key, _ reason: @autoclosure () -> String) throws {
        guard condition else {
            throw DecodingError.dataCorruptedError(forKey: key, in: self, debugDescription: reason())
        }
    }
}

/// Decodes JSON that anybody may have made.
///
/// - Throws: `EvimError.damaged` with `what`, where it is no JSON, or not of that type.
func decode<Value: Decodable>(_ type: Value.Type, from json: Data, what: String) throws(EvimError) -> Value {
    do {
        return try JSONDecoder().decode(type, from: json)
    } catch let error as DecodingError {
        throw .damaged(what: what, why: error.reason)
    } catch {
        throw .damaged(what: what, why: "\(error)")
    }
}

/// Refuses a document of a schema version that is not read here; the rest of it need not be known.
///
/// - Throws: `EvimError.newerSchema`, or `EvimError.damaged` where its `schema_version` is missing or below the first.
func requireReadableVersion(
    of json: Data, within readable: ClosedRange<Int>, what: String
) throws(EvimError) {
    struct Version: Decodable {
        let number: Int

        enum CodingKeys: String, CodingKey {
            case number = "schema_version"
        }
    }
    let version = try decode(Version.self, from: json, what: what).number
    guard version <= readable.upperBound else {
        throw .newerSchema(what: what, version: version, readable: readable.upperBound)
    }
    guard readable.contains(version) else {
        throw .damaged(what: what, why: "there is no schema version \(version)")
    }
}
