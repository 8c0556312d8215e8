#if canImport(CoreML)
    import CoreML
    import EvimCore
    import Foundation

    /// What a model gives, as plain numbers by the names that a golden file has.
    struct ModelOutputs: Sendable {
        private let probabilities: String?
        private let arrays: [String]
        private let labels: [String]

        private static let classifier = "probabilities"

        /// The outputs of a model: a classifier's probabilities, or else its arrays.
        init(_ description: MLModelDescription, labels: Labels) {
            probabilities = description.predictedProbabilitiesName
            arrays = description.outputDescriptionsByName.filter { $1.type == .multiArray }.keys.sorted()
            self.labels = labels.names
        }

        /// The numbers of a prediction: (classes) in the order of the labels, or each array in rows.
        ///
        /// - Throws: `EvimError.outputShape` where an output or a class is missing.
        func values(of prediction: any MLFeatureProvider) throws(EvimError) -> [String: [Float]] {
            if let probabilities {
                return [Self.classifier: try inOrder(prediction.featureValue(for: probabilities)?.dictionaryValue)]
            }
            var values: [String: [Float]] = [:]
            for name in arrays {
                guard let array = prediction.featureValue(for: name)?.multiArrayValue else {
                    throw .outputShape(output: name, found: nil, expected: 0)
                }
                // converts half precision, and packs what Core ML pads for its hardware
                values[name] = MLShapedArray<Float>(converting: array).scalars
            }
            return values
        }

        /// The outputs of a batch, image by image.
        ///
        /// - Throws: `EvimError.outputShape` where an output does not divide into so many.
        func split(_ values: [String: [Float]], into batch: Int) throws(EvimError) -> [[String: [Float]]] {
            var images = [[String: [Float]]](repeating: [:], count: batch)
            for (name, numbers) in values {
                let size = numbers.count / batch
                guard size > 0, size * batch == numbers.count else {
                    throw .outputShape(output: name, found: numbers.count, expected: max(size, 1) * batch)
                }
                for image in images.indices {
                    images[image][name] = Array(numbers[image * size..<(image + 1) * size])
                }
            }
            return images
        }

        private func inOrder(_ byLabel: [AnyHashable: NSNumber]?) throws(EvimError) -> [Float] {
            guard let byLabel else { throw .outputShape(output: Self.classifier, found: nil, expected: labels.count) }
            let values = labels.compactMap { byLabel[$0]?.floatValue }
            guard values.count == labels.count, byLabel.count == labels.count else {
                throw .outputShape(output: Self.classifier, found: byLabel.count, expected: labels.count)
            }
            return values
        }
    }
#endif
