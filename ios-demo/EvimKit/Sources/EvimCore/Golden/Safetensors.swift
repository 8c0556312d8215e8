import Foundation

/// A file of arrays by name, as Hugging Face's safetensors defines it: a length, a JSON header, the arrays' bytes.
///
/// Only the types that a golden file has are read. Whoever made the file is not trusted: nothing is allocated by a
/// length that it claims, and every position is checked before it is used.
public struct Safetensors: Sendable {
    /// An array of one of the types that are read.
    public struct Tensor: Equatable, Sendable {
        /// Elements of an array in the order of rows, the last axis fastest.
        public enum Values: Equatable, Sendable {
            /// `U8`.
            case bytes([UInt8])
            /// `F32`.
            case floats([Float])
        }

        /// Length of each axis; empty for a single value.
        public let shape: [Int]
        /// As many as the product of the shape.
        public let values: Values
    }

    /// What the file says of itself, in words.
    public let metadata: [String: String]
    private let entries: [String: SafetensorsHeader.Entry]
    private let buffer: Data

    private static let lengthBytes = 8
    private static let what = "The safetensors file"

    /// Reads the header of a file and checks that its arrays fill the file, one after another.
    ///
    /// - Throws: `EvimError.damaged`.
    public init(decoding data: Data) throws(EvimError) {
        guard data.count >= Self.lengthBytes else {
            throw .damaged(what: Self.what, why: "it ends within its first \(Self.lengthBytes) bytes")
        }
        let claimed = data.prefix(Self.lengthBytes).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let rest = data.dropFirst(Self.lengthBytes)
        guard let length = Int(exactly: claimed), length <= rest.count else {
            throw .damaged(what: Self.what, why: "its header should have \(claimed) bytes, and \(rest.count) are there")
        }
        let header = try decode(SafetensorsHeader.self, from: Data(rest.prefix(length)), what: Self.what)
        metadata = header.metadata
        entries = header.entries
        buffer = Data(rest.dropFirst(length))
        try Self.requireGapless(entries, count: buffer.count)
    }

    /// Names of the arrays, sorted.
    public var names: [String] { entries.keys.sorted() }

    /// An array by its name.
    ///
    /// - Throws: `EvimError.damaged` where there is none.
    public func tensor(_ name: String) throws(EvimError) -> Tensor {
        guard let entry = entries[name] else {
            throw .damaged(what: Self.what, why: "it has no array \(name)")
        }
        let bytes = buffer[entry.begin..<entry.end]
        switch entry.dtype {
        case .u8: return Tensor(shape: entry.shape, values: .bytes(Array(bytes)))
        case .f32: return Tensor(shape: entry.shape, values: .floats(Self.floats(bytes)))
        }
    }

    /// Little-endian on every machine; the bytes need not be aligned.
    private static func floats(_ bytes: Data) -> [Float] {
        bytes.withUnsafeBytes { raw in
            stride(from: 0, to: raw.count, by: 4).map { offset in
                Float(bitPattern: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            }
        }
    }

    /// Neither overlaps nor holes, as the format demands: bytes that belong to no array would be hidden from a reader.
    private static func requireGapless(
        _ entries: [String: SafetensorsHeader.Entry], count: Int
    ) throws(EvimError) {
        var position = 0
        // The name decides between equal places, so that the same file is always refused in the same words.
        let places = entries.sorted {
            ($0.value.begin, $0.value.end, $0.key) < ($1.value.begin, $1.value.end, $1.key)
        }
        for (name, entry) in places {
            guard entry.begin == position else {
                throw .damaged(what: what, why: "\(name) begins at byte \(entry.begin) instead of \(position)")
            }
            guard entry.end <= count else {
                throw .damaged(what: what, why: "\(name) ends at byte \(entry.end) of \(count)")
            }
            position = entry.end
        }
        guard position == count else {
            throw .damaged(what: what, why: "its arrays have \(position) of its \(count) bytes")
        }
    }
}
