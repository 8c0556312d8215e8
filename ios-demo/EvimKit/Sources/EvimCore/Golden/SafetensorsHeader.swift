/// The JSON header of a safetensors file: where each array lies. Bytes are counted from the header's end.
struct SafetensorsHeader: Decodable {
    /// Types that are read, by the names that the format gives them.
    enum ElementType: String, Decodable {
        case u8 = "U8"
        case f32 = "F32"

        var bytes: Int {
            switch self {
            case .u8: 1
            case .f32: 4
            }
        }
    }

    /// Where an array lies; its bytes are as many as its shape needs.
    struct Entry: Decodable {
        let dtype: ElementType
        let shape: [Int]
        let begin: Int
        let end: Int

        enum CodingKeys: String, CodingKey {
            case dtype, shape
            case offsets = "data_offsets"
        }

        init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            dtype = try values.decode(ElementType.self, forKey: .dtype)
            shape = try values.decode([Int].self, forKey: .shape)
            let offsets = try values.decode([Int].self, forKey: .offsets)
            guard offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1] else {
                let why = "\(offsets) are no offsets"
                throw DecodingError.dataCorruptedError(forKey: .offsets, in: values, debugDescription: why)
            }
            (begin, end) = (offsets[0], offsets[1])
            guard Self.size(of: shape, dtype) == end - begin else {
                let why = "\(shape) of \(dtype.rawValue) does not fill \(end - begin) bytes"
                throw DecodingError.dataCorruptedError(forKey: .shape, in: values, debugDescription: why)
            }
        }

        /// Bytes; nil where an axis is negative or no integer holds the product.
        private static func size(of shape: [Int], _ dtype: ElementType) -> Int? {
            var size = dtype.bytes
            for length in shape {
                let (product, overflow) = size.multipliedReportingOverflow(by: length)
                guard length >= 0, !overflow else { return nil }
                size = product
            }
            return size
        }
    }

    let metadata: [String: String]
    let entries: [String: Entry]

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    private static let metadataKey = "__metadata__"

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Name.self)
        metadata =
            try values.decodeIfPresent([String: String].self, forKey: Name(stringValue: Self.metadataKey)) ?? [:]
        var entries: [String: Entry] = [:]
        for name in values.allKeys where name.stringValue != Self.metadataKey {
            entries[name.stringValue] = try values.decode(Entry.self, forKey: name)
        }
        self.entries = entries
    }
}
