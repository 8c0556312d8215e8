extension Decoder {
    /// A container by keys that refuses every other key, as the JSON Schema of results does.
    ///
    /// - Throws: `DecodingError`, which names an unknown key.
    func strictContainer<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        let everything = try container(keyedBy: AnyKey.self)
        if let unknown = everything.allKeys.first(where: { Key(stringValue: $0.stringValue) == nil }) {
            throw DecodingError.dataCorruptedError(forKey: unknown, in: everything, debugDescription: "it is unknown")
        }
        return try container(keyedBy: type)
    }
}

extension KeyedDecodingContainer {
    /// A value, or another where the key is left out; null is refused.
    func decode<Value: Decodable>(forKey key: Key, orElse value: Value) throws -> Value {
        contains(key) ? try decode(Value.self, forKey: key) : value
    }

    /// A number that is no less than another.
    func decode<Number: Decodable & Comparable>(forKey key: Key, atLeast least: Number) throws -> Number {
        let number = try decode(Number.self, forKey: key)
        try require(number >= least, forKey: key, "\(number) is less than \(least)")
        return number
    }

    /// A number that is no less than another, or nil where it is left out or null.
    func decodeIfPresent<Number: Decodable & Comparable>(forKey key: Key, atLeast least: Number) throws -> Number? {
        guard let number = try decodeIfPresent(Number.self, forKey: key) else { return nil }
        try require(number >= least, forKey: key, "\(number) is less than \(least)")
        return number
    }
}

/// Any key of a document.
private struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil

    init(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) {
        nil
    }
}
