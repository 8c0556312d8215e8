import Foundation
import Testing

@testable import EvimCore

/// `Manifest` reads the documents that Python's schema describes (`evim_deploy/artifact/manifest.schema.json`).
@Suite struct ManifestSchemaTests {
    private let schema: JSONSchema
    /// All that Swift decodes of a manifest, as it encodes it again.
    private let decoded: JSONValue

    init() throws {
        schema = JSONSchema(root: try Fixtures.decode(JSONValue.self, "manifest.schema.json"))
        let functions: [[String: any Sendable]] = [
            ["name": "size_32x32", "resolution": [32, 32]], ["name": "size_64x32", "resolution": [64, 32]],
        ]
        let manifest = try Manifest(decoding: Documents.manifest(["functions": functions]))
        decoded = try JSONDecoder().decode(JSONValue.self, from: JSONEncoder().encode(manifest))
    }

    @Test func theSchemaAcceptsPythonsManifest() throws {
        let manifest = try Fixtures.decode(JSONValue.self, "manifest.json")
        #expect(schema.accepts(manifest, schema.root))
        #expect(!schema.accepts(replaced(manifest, ["weights", "trained"], by: .string("no")), schema.root))
        #expect(!schema.accepts(replaced(manifest, ["weights", "note"], by: nil), schema.root))
        #expect(!schema.accepts(replaced(manifest, ["precision"], by: .string("fp64")), schema.root))
        #expect(!schema.accepts(replaced(manifest, ["resolution"], by: .array([.number(0), .number(1)])), schema.root))
    }

    @Test func swiftDecodesTheKeysThatAreTested() {
        #expect(Set(decoded.members.keys) == Set(Manifest.CodingKeys.allCases.map(\.stringValue)))
    }

    @Test func everyKeyIsInTheSchemaWithItsType() {
        for (path, value) in values(decoded) {
            let described = schema.at(path)
            #expect(described != nil, "\(path)")
            let isLeaf = values(value).isEmpty
            let isValid = described.map { schema.accepts(value, $0) } ?? false
            #expect(isValid || !isLeaf, "\(path)")
        }
    }

    @Test func aKeyThatSwiftRequiresIsRequiredByTheSchema() throws {
        for (path, _) in values(decoded) where Int(path.last ?? "") == nil {
            let isRequired = schema.requires(path.last ?? "", at: Array(path.dropLast()))
            let isRead = isReadable(replaced(decoded, path, by: nil))
            #expect(isRead || isRequired, "\(path)")
            if path.count == 1 { #expect(isRead != isRequired, "\(path)") }
        }
    }

    @Test(
        arguments: [.string("text"), .number(7.5), .number(-1), .bool(true), .array([]), .object([:])] as [JSONValue])
    func aTypeThatSwiftReadsIsInTheSchema(value: JSONValue) throws {
        for (path, _) in values(decoded) {
            let isInSchema = schema.allowsType(of: value, at: path)
            let isRead = isReadable(replaced(decoded, path, by: value))
            #expect(isInSchema || !isRead, "\(path)")
        }
    }

    /// Every value inside a document, with its path of keys and indices.
    private func values(_ document: JSONValue, under path: [String] = []) -> [([String], JSONValue)] {
        let inside =
            document.members.map { ($0, $1) } + document.elements.enumerated().map { (String($0), $1) }
        return inside.flatMap { step, value in [(path + [step], value)] + values(value, under: path + [step]) }
    }

    /// A document with another value at a path; nil removes the key.
    private func replaced(_ document: JSONValue, _ path: [String], by value: JSONValue?) -> JSONValue {
        let rest = Array(path.dropFirst())
        switch document {
        case .object(var members):
            let new = rest.isEmpty ? value : members[path[0]].map { replaced($0, rest, by: value) }
            members[path[0]] = new
            return .object(members)
        case .array(var elements):
            guard let index = Int(path[0]) else { return document }
            elements[index] = rest.isEmpty ? value ?? .null : replaced(elements[index], rest, by: value)
            return .array(elements)
        default:
            return document
        }
    }

    private func isReadable(_ document: JSONValue) -> Bool {
        (try? Manifest(decoding: JSONEncoder().encode(document))) != nil
    }
}
