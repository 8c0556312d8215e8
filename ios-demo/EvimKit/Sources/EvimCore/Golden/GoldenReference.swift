extension Golden {
    /// What a model must answer, ready for comparisons: probabilities as the logits that they stand for.
    struct Reference: Sendable {
        /// One output of all images.
        struct Output: Sendable {
            let name: String
            /// Length of each axis, the images' first.
            let shape: [Int]
            /// Values of each image, as they are compared.
            let expected: [[Double]]
            /// Of the errors.
            let unit: Double

            var size: Int { expected[0].count }
        }

        private let images: [String]
        /// Sorted by name: JSON's objects have no order.
        private let outputs: [Output]
        private let classes: Bool
        private let leastProbability: Double?

        private static let prefix = "expected."

        /// Reads the expected outputs.
        ///
        /// - Throws: `EvimError.damaged` where there are none, or one is not of the images' number or not finite.
        init(file: Safetensors, document: GoldenDocument) throws(EvimError) {
            images = document.cases
            classes = document.task == "classify"
            leastProbability = document.leastProbability
            var outputs: [Output] = []
            for tensorName in file.names where tensorName.hasPrefix(Self.prefix) {
                let name = String(tensorName.dropFirst(Self.prefix.count))
                let (shape, values) = try Self.floats(tensorName, in: file, images: images.count)
                guard values.allSatisfy({ $0.allSatisfy(\.isFinite) }) else {
                    throw .damaged(what: GoldenDocument.what, why: "\(tensorName) has values that are not numbers")
                }
                let expected = values.map { Self.comparable($0, output: name, least: document.leastProbability) }
                let unit = Difference.unit(ofImages: expected)
                outputs.append(Output(name: name, shape: shape, expected: expected, unit: unit))
            }
            let isKnown = !classes || outputs.map(\.name) == [document.output]
            guard !outputs.isEmpty, isKnown else {
                let why = "it does not have the outputs of a \(document.task) model"
                throw .damaged(what: GoldenDocument.what, why: why)
            }
            self.outputs = outputs
        }

        /// Another set of outputs from the same file, by case.
        ///
        /// - Throws: `EvimError.damaged` where one is missing or of another shape than the expected one.
        func outputs(named kind: String, in file: Safetensors) throws(EvimError) -> [[String: [Float]]] {
            var found = [[String: [Float]]](repeating: [:], count: images.count)
            for output in outputs {
                let tensorName = "\(kind).\(output.name)"
                let (shape, values) = try Self.floats(tensorName, in: file, images: images.count)
                guard shape == output.shape else {
                    throw .damaged(what: GoldenDocument.what, why: "\(tensorName) is of another shape than expected")
                }
                for (index, each) in values.enumerated() { found[index][output.name] = each }
            }
            return found
        }

        /// Compares outputs by case with the expected ones, whatever the control says.
        ///
        /// - Throws: `EvimError.outputShape`.
        func compare(_ actual: [[String: [Float]]], tolerance: Tolerance) throws(EvimError) -> Parity {
            var rows: [Difference] = []
            for output in outputs {
                for (index, expected) in output.expected.enumerated() {
                    let values = actual.indices.contains(index) ? actual[index][output.name] : nil
                    guard let values, values.count == output.size else {
                        throw .outputShape(output: output.name, found: values?.count, expected: output.size)
                    }
                    let found = Self.comparable(values, output: output.name, least: leastProbability)
                    rows.append(
                        Difference(
                            image: images[index], output: output.name, expected: expected, actual: found,
                            unit: output.unit))
                }
            }
            return Parity(of: rows, classes: classes, tolerance: tolerance)
        }

        private static func comparable(_ values: [Float], output: String, least: Double?) -> [Double] {
            let doubles = values.map(Double.init)
            guard output == "probabilities", let least else { return doubles }
            return Difference.logits(of: doubles, least: least)
        }

        /// A tensor (images, ...) of floats, and its values of each image.
        private static func floats(
            _ name: String, in file: Safetensors, images: Int
        ) throws(EvimError) -> (shape: [Int], values: [[Float]]) {
            let tensor = try file.tensor(name)
            guard case .floats(let values) = tensor.values, tensor.shape.first == images, !values.isEmpty else {
                throw .damaged(what: GoldenDocument.what, why: "\(name) does not have values of \(images) images")
            }
            let size = values.count / images
            return (tensor.shape, (0..<images).map { Array(values[$0 * size..<($0 + 1) * size]) })
        }
    }
}
