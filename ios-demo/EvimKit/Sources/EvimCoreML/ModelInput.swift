#if canImport(CoreML)
    import CoreML
    import EvimCore
    import Foundation

    /// The one input of a model, and what Core ML is given for it: always of the size that the manifest says.
    struct ModelInput: Sendable {
        let name: String
        /// Images in one prediction.
        let batch: Int
        let height: Int
        let width: Int
        private let port: Manifest.Port
        private let takesImage: Bool
        private let takesPixels: Bool

        private static let channels = 3
        /// Of bytes, as a normalised tensor takes them: about its mean, and a little more than its deviation.
        private static let (middle, spread): (Float, Float) = (128, 64)

        /// The input that a manifest describes, of one of several functions or of the default one.
        ///
        /// - Throws: `EvimError.damaged` where the model itself takes something else, or another size.
        init(_ manifest: Manifest, function: String?, description: MLModelDescription) throws(EvimError) {
            let resolution = manifest.resolution(of: function)
            (height, width, batch) = (resolution.height, resolution.width, manifest.batch)
            takesImage = manifest.takesImage
            takesPixels = manifest.preprocess
            let expected = takesImage ? [height, width] : [batch, Self.channels, height, width]
            let found = manifest.inputs.first.flatMap { description.inputDescriptionsByName[$0.name] }
            guard let port = manifest.inputs.first, let found, found.lengths == expected else {
                throw .damaged(what: "The model", why: "its input is not of \(expected) as its manifest says")
            }
            self.port = port
            name = port.name
        }

        /// - Throws: `EvimError.inputIsNotAnImage`.
        func requireImage() throws(EvimError) {
            guard takesImage else { throw .inputIsNotAnImage(name: name, takes: "an array of \(port.dtype)") }
        }

        /// What Core ML is given for an image.
        ///
        /// - Throws: `EvimError.usage` for an image of another size than the model's, and Core ML's own errors.
        func features(of image: PreparedImage) throws -> any MLFeatureProvider {
            guard (image.height, image.width) == (height, width) else {
                let found = "\(image.width)x\(image.height)"
                throw EvimError.usage("The image was prepared for a model of \(found), not of \(width)x\(height).")
            }
            return try features(MLFeatureValue(pixelBuffer: image.makePixelBuffer()))
        }

        /// What Core ML is given for one batch of a golden file's cases, filled up from the first.
        ///
        /// - Throws: `EvimError.damaged` where the file is for a model of another size or kind.
        func features(of golden: Golden, from start: Int) throws -> any MLFeatureProvider {
            guard (golden.height, golden.width) == (height, width) else {
                let found = "\(golden.width)x\(golden.height)"
                throw EvimError.damaged(what: "The golden file", why: "it is for a model of \(found)")
            }
            let count = golden.cases.count
            let inputs = (start..<start + batch).map { golden.cases[$0 % count].input }
            switch (takesImage, inputs[0]) {
            case (true, .pixels(let rgb)):
                return try features(of: PreparedImage(rgb: rgb, width: width, height: height))
            case (false, _):
                return try features(of: inputs.flatMap(values))
            case (true, .values):
                throw EvimError.damaged(what: "The golden file", why: "it has no images")
            }
        }

        /// What Core ML is given where only time is asked for: noise, always the same, as `evim-deploy bench` takes it.
        ///
        /// On a flat image values overflow or vanish in half precision, as on no photograph.
        func noise() throws -> any MLFeatureProvider {
            var generator = SeededGenerator(seed: 0)
            let bytes = (0..<batch * Self.channels * height * width).map { _ in
                UInt8(truncatingIfNeeded: generator.next())
            }
            if takesImage { return try features(of: PreparedImage(rgb: bytes, width: width, height: height)) }
            return try features(
                of: bytes.map { takesPixels ? Float($0) : (Float($0) - Self.middle) / Self.spread })
        }

        /// A case as numbers in planes, (3, H, W).
        private func values(_ input: Golden.Case.Input) -> [Float] {
            switch input {
            case .values(let values): values
            case .pixels(let rgb):
                (0..<Self.channels).flatMap { channel in
                    stride(from: channel, to: rgb.count, by: Self.channels).map { Float(rgb[$0]) }
                }
            }
        }

        private func features(of values: [Float]) throws -> any MLFeatureProvider {
            let expected = batch * Self.channels * height * width
            guard values.count == expected else {
                let why = "its cases have \(values.count) values for \(expected)"
                throw EvimError.damaged(what: "The golden file", why: why)
            }
            let data = values.withUnsafeBytes { Data($0) }
            let array = MLShapedArray<Float>(data: data, shape: [batch, Self.channels, height, width])
            return try features(MLFeatureValue(shapedArray: array))
        }

        private func features(_ value: MLFeatureValue) throws -> any MLFeatureProvider {
            try MLDictionaryFeatureProvider(dictionary: [name: value])
        }
    }

    extension MLFeatureDescription {
        /// [H, W] of an image, or the length of each axis of an array.
        fileprivate var lengths: [Int]? {
            imageConstraint.map { [$0.pixelsHigh, $0.pixelsWide] } ?? multiArrayConstraint?.shape.map(\.intValue)
        }
    }
#endif
