/// A JSON Schema, as far as `manifest.schema.json` uses one.
struct JSONSchema {
    let root: JSONValue

    /// The schema of a value inside the document, by its path of keys and indices.
    func at(_ path: [String]) -> JSONValue? {
        var schema: JSONValue? = root
        for step in path {
            let choices = schema.map(alternatives) ?? []
            schema = choices.lazy.compactMap { self.inside($0, step) }.first
        }
        return schema
    }

    private func inside(_ schema: JSONValue, _ step: String) -> JSONValue? {
        guard let index = Int(step) else { return schema["properties"]?[step] }
        return schema["items"] ?? schema["prefixItems"].flatMap { $0.elements.dropFirst(index).first }
    }

    /// Whether an object at a path must have a key.
    func requires(_ key: String, at path: [String]) -> Bool {
        at(path).map(alternatives)?.contains { $0["required"]?.elements.contains(.string(key)) == true } ?? false
    }

    /// Whether the value at a path may have the JSON type of this one.
    func allowsType(of value: JSONValue, at path: [String]) -> Bool {
        at(path).map(alternatives)?.contains { hasType(value, $0) } ?? false
    }

    /// Whether a value is valid.
    func accepts(_ value: JSONValue, _ schema: JSONValue) -> Bool {
        alternatives(schema).contains { acceptsOne(value, $0) }
    }

    /// The schemas of which a value must meet one, references resolved.
    private func alternatives(_ schema: JSONValue) -> [JSONValue] {
        if case .string(let reference) = schema["$ref"], let name = reference.split(separator: "/").last {
            return root["$defs"]?[String(name)].map(alternatives) ?? []
        }
        return schema["anyOf"].map { $0.elements.flatMap(alternatives) } ?? [schema]
    }

    private func acceptsOne(_ value: JSONValue, _ schema: JSONValue) -> Bool {
        if let constant = schema["const"], constant != value { return false }
        if let words = schema["enum"], !words.elements.contains(value) { return false }
        guard hasType(value, schema) else { return false }
        switch value {
        case .number(let number):
            return isInRange(number, schema)
        case .array(let elements):
            if let each = schema["prefixItems"]?.elements {
                return elements.count == each.count && zip(elements, each).allSatisfy(accepts)
            }
            return elements.allSatisfy { element in schema["items"].map { accepts(element, $0) } ?? true }
        case .object(let members):
            let required = schema["required"]?.elements ?? []
            return required.allSatisfy { key in members.keys.contains { .string($0) == key } }
                && members.allSatisfy { key, value in schema["properties"]?[key].map { accepts(value, $0) } ?? true }
        default:
            return true
        }
    }

    private func hasType(_ value: JSONValue, _ schema: JSONValue) -> Bool {
        switch (schema["type"], value) {
        case (.string("null"), .null), (.string("boolean"), .bool), (.string("string"), .string),
            (.string("number"), .number), (.string("array"), .array), (.string("object"), .object):
            true
        case (.string("integer"), .number(let number)):
            number == number.rounded()
        default:
            false
        }
    }

    private func isInRange(_ number: Double, _ schema: JSONValue) -> Bool {
        func bound(_ key: String) -> Double? { if case .number(let bound) = schema[key] { bound } else { nil } }
        return bound("minimum").map { number >= $0 } != false && bound("maximum").map { number <= $0 } != false
            && bound("exclusiveMinimum").map { number > $0 } != false
    }
}
