/// The images of a golden file, cut out of one array.
struct GoldenImages {
    let cases: [Golden.Case]
    let height: Int
    let width: Int

    private static let channels = 3

    /// Reads the array `input`: (N, H, W, 3) of bytes, or (N, 3, H, W) of floats for a model without preprocessing.
    ///
    /// - Throws: `EvimError.damaged` where it is of another shape or type.
    init(file: Safetensors, document: GoldenDocument) throws(EvimError) {
        let tensor = try file.tensor("input")
        let (shape, names) = (tensor.shape, document.cases)
        guard shape.count == 4, shape[0] == names.count, !shape.contains(0) else {
            throw Self.damaged(shape, names.count)
        }
        switch tensor.values {
        case .bytes(let bytes) where document.preprocess && shape[3] == Self.channels:
            (height, width) = (shape[1], shape[2])
            cases = Self.cut(bytes, names: names) { .pixels($0) }
        case .floats(let floats) where !document.preprocess && shape[1] == Self.channels:
            (height, width) = (shape[2], shape[3])
            cases = Self.cut(floats, names: names) { .values($0) }
        default: throw Self.damaged(shape, names.count)
        }
    }

    private static func cut<Element>(
        _ values: [Element], names: [String], _ input: ([Element]) -> Golden.Case.Input
    ) -> [Golden.Case] {
        let size = values.count / names.count
        return names.enumerated().map { index, name in
            Golden.Case(name: name, input: input(Array(values[index * size..<(index + 1) * size])))
        }
    }

    private static func damaged(_ shape: [Int], _ count: Int) -> EvimError {
        .damaged(what: GoldenDocument.what, why: "its input of \(shape) is not \(count) images of the kind it says")
    }
}
