import Foundation
import Testing

@testable import EvimCore

@Suite struct SafetensorsTests {
    @Test func readsArraysByName() throws {
        let header = """
            {"__metadata__": {"made by": "hand"}, "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [3, 11]}, \
            "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
            """
        let file = try Safetensors(
            decoding: Documents.safetensors(header: header, bytes: [1, 2, 255] + Documents.bytes([1.5, -2])))
        #expect(file.metadata == ["made by": "hand"])
        #expect(file.names == ["a", "b"])
        #expect(try file.tensor("a") == .init(shape: [3], values: .bytes([1, 2, 255])))
        #expect(try file.tensor("b") == .init(shape: [2, 1], values: .floats([1.5, -2])))
    }

    @Test func readsASliceOfAnotherBuffer() throws {
        let whole = Documents.safetensors(
            header: "{\"a\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [0, 4]}}", bytes: [0, 0, 128, 63])
        let slice = (Data([9, 9, 9]) + whole + Data([7])).dropFirst(3).dropLast()
        #expect(try Safetensors(decoding: slice).tensor("a").values == .floats([1]))
    }

    @Test func anEmptyArrayAndASingleValueAreArrays() throws {
        let header = """
            {"none": {"dtype": "U8", "shape": [0, 4], "data_offsets": [0, 0]}, \
            "one": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}}
            """
        let file = try Safetensors(decoding: Documents.safetensors(header: header, bytes: [5]))
        #expect(try file.tensor("none").values == .bytes([]))
        #expect(try file.tensor("one") == .init(shape: [], values: .bytes([5])))
        #expect(file.metadata.isEmpty)
    }

    @Test func keepsValuesThatAreNotNumbers() throws {
        let header = "{\"a\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}}"
        let file = try Safetensors(
            decoding: Documents.safetensors(header: header, bytes: Documents.bytes([.infinity, .nan])))
        guard case .floats(let values) = try file.tensor("a").values else { throw CancellationError() }
        #expect(values[0] == .infinity)
        #expect(values[1].isNaN)
    }

    @Test func namesAnArrayThatIsNotThere() throws {
        let file = try Safetensors(decoding: Documents.safetensors(header: "{}"))
        #expect(damage { try file.tensor("a") } == "it has no array a")
    }

    @Test(arguments: [0, 1, 7])
    func refusesAFileWithoutALength(count: Int) {
        #expect(damage { try Safetensors(decoding: Data(count: count)) } == "it ends within its first 8 bytes")
    }

    @Test(arguments: [3, 100, UInt64(Int64.max), UInt64(Int64.max) + 1, UInt64.max])
    func refusesAHeaderLongerThanTheFile(length: UInt64) {
        let file = Documents.safetensors(header: "{}", length: length)
        let why = "its header should have \(length) bytes, and 2 are there"
        #expect(damage { try Safetensors(decoding: file) } == why)
    }

    @Test(arguments: [
        "", "[]", "{", "null", "{\"a\": 1}", "{\"__metadata__\": {\"a\": 1}}", "{\"__metadata__\": []}",
        "{\"a\": {\"dtype\": \"U8\", \"shape\": [1]}}",
        String(repeating: "[", count: 100_000), String(repeating: "{\"a\":", count: 100_000),
        "{\"a\": \(String(repeating: "[", count: 100_000))",
    ])
    func refusesAHeaderThatIsNone(header: String) {
        #expect(damage { try Safetensors(decoding: Documents.safetensors(header: header, bytes: [0])) } != nil)
    }

    @Test(arguments: [
        ("BF16", "[1]", "[0, 2]"), ("u8", "[2]", "[0, 2]"),
        ("U8", "[2]", "[0]"), ("U8", "[2]", "[0, 2, 2]"), ("U8", "[2]", "[2, 0]"), ("U8", "[2]", "[-2, 0]"),
        ("U8", "[2]", "[-9223372036854775808, 9223372036854775807]"),
        ("U8", "[2]", "[0, 9223372036854775808]"), ("U8", "[2]", "[0, 1e400]"), ("U8", "[2]", "[0.5, 2]"),
        ("U8", "[3]", "[0, 2]"), ("F32", "[1]", "[0, 2]"), ("U8", "[-2]", "[0, 2]"), ("U8", "[-1, -2]", "[0, 2]"),
        ("U8", "[9223372036854775807, 9223372036854775807]", "[0, 2]"),
        ("U8", "[9223372036854775807]", "[0, 9223372036854775807]"), ("U8", "[100]", "[0, 100]"),
        ("U8", "[1]", "[1, 2]"), ("U8", "[1]", "[0, 1]"), ("U8", "[]", "[0, 1]"), ("U8", "2", "[0, 2]"),
    ])
    func refusesAnArrayThatIsNotThePlaceItClaims(dtype: String, shape: String, offsets: String) {
        let header = "{\"a\": {\"dtype\": \"\(dtype)\", \"shape\": \(shape), \"data_offsets\": \(offsets)}}"
        #expect(damage { try Safetensors(decoding: Documents.safetensors(header: header, bytes: [0, 0])) } != nil)
    }

    @Test(arguments: [
        ("U8", "[4294967296, 4294967296, 2]"), ("F32", "[4611686018427387904]"), ("F32", "[4294967296, 4294967296]"),
    ])
    func refusesAShapeWhoseSizeWrapsAroundToNothing(dtype: String, shape: String) {
        let header = "{\"a\": {\"dtype\": \"\(dtype)\", \"shape\": \(shape), \"data_offsets\": [0, 0]}}"
        #expect(damage { try Safetensors(decoding: Documents.safetensors(header: header)) } != nil)
    }

    @Test(arguments: [
        ([0, 2], [1, 3], 3, "b begins at byte 1 instead of 2"),
        ([0, 2], [0, 2], 2, "b begins at byte 0 instead of 2"),
        ([0, 1], [2, 3], 3, "b begins at byte 2 instead of 1"),
        ([0, 1], [1, 2], 3, "its arrays have 2 of its 3 bytes"),
        ([0, 1], [1, 4], 3, "b ends at byte 4 of 3"),
    ])
    func refusesOverlapsAndHoles(first: [Int], second: [Int], count: Int, why: String) {
        func entry(_ offsets: [Int]) -> String {
            "{\"dtype\": \"U8\", \"shape\": [\(offsets[1] - offsets[0])], \"data_offsets\": \(offsets)}"
        }
        let header = "{\"a\": \(entry(first)), \"b\": \(entry(second))}"
        let file = Documents.safetensors(header: header, bytes: [UInt8](repeating: 0, count: count))
        #expect(damage { try Safetensors(decoding: file) } == why)
    }
}
