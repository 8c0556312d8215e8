import Foundation
import Testing

/// What Python's side of the project answers, written by tests/support/ios_fixtures.py.
enum Fixtures {
    /// The bytes of a fixture.
    static func data(_ name: String) throws -> Data {
        let folder = try #require(Bundle.module.resourceURL, "the tests have no resources")
        return try Data(contentsOf: folder.appending(path: "Fixtures").appending(path: name))
    }

    /// A fixture that is JSON.
    static func decode<Value: Decodable>(_ type: Value.Type = Value.self, _ name: String) throws -> Value {
        try JSONDecoder().decode(type, from: data(name))
    }
}

/// Whether two figures agree but for the order in which sums were taken: 1e-12 of the expected one.
func agrees(_ found: Double, _ expected: Double) -> Bool {
    found == expected || abs(found - expected) <= 1e-12 * abs(expected)
}
