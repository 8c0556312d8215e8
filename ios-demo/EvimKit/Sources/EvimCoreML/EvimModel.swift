#if canImport(CoreML)
    import CoreGraphics
    import CoreML
    import CoreVideo
    import EvimCore
    import Foundation

    /// An EfficientViM in Core ML: an image in, what is on it out.
    ///
    /// ```swift
    /// let model = try await EvimModel(contentsOf: url)
    /// for guess in try await model.classify(photo) {
    ///     print(guess.label, guess.probability)
    /// }
    /// ```
    ///
    /// The actor owns the one `MLModel`, so that its predictions never overlap. A package needs no other file: its
    /// manifest and its labels are in its own metadata.
    public actor EvimModel {
        /// What the model says of itself.
        public nonisolated let manifest: Manifest
        /// The names of its classes; none for features.
        public nonisolated let labels: Labels
        /// Of the package (hex), as `evim_deploy/common/publish.py` computes it; nil for a compiled `.mlmodelc`.
        public nonisolated let sha256: String?

        let input: ModelInput
        let outputs: ModelOutputs
        let model: MLModel
        var timedInput: (any MLFeatureProvider)?

        /// Loads a model.
        ///
        /// - Parameters:
        ///   - url: An `.mlpackage`, which is compiled once and then kept under Caches, or an `.mlmodelc`. Where a
        ///     manifest file `NAME.mlpackage.json` lies beside a package, the package must be the one that it describes.
        ///   - units: What Core ML may compute on.
        ///   - function: One of the functions of a package that has several; nil for its default.
        /// - Throws: `EvimError.damaged`, `EvimError.newerSchema`, `EvimError.labelCount`, `EvimError.missingFunction`
        ///   (on iOS 17 and macOS 14 for any function), `EvimError.modelRefused`, and the file system's own errors where
        ///   Caches cannot be written.
        public init(contentsOf url: URL, units: ComputeUnits = .all, function: String? = nil) async throws {
            try await self.init(CompiledModel(contentsOf: url), units: units, function: function)
        }

        /// Loads a compiled model.
        init(_ compiled: CompiledModel, units: ComputeUnits, function: String?) async throws {
            let model = try await compiled.load(units, function: function)
            let description = model.modelDescription
            let manifest = try description.embeddedManifest()
            let labels = try description.embeddedLabels(for: manifest)
            self.manifest = manifest
            self.labels = labels
            self.sha256 = compiled.sha256
            self.input = try ModelInput(manifest, function: function, description: description)
            self.outputs = ModelOutputs(description, labels: labels)
            self.model = model
        }

        /// Says what is on an image.
        ///
        /// - Parameters:
        ///   - image: Of any size, upright: a `CGImage` does not say which side is up.
        ///   - top: How many classes, if the model has as many.
        /// - Returns: The likeliest classes, the likeliest first.
        /// - Throws: `EvimError.inputIsNotAnImage` and `EvimError.notAClassifier` for a model of another kind;
        ///   `EvimError.emptyImage`, `EvimError.imageTooNarrow`, `EvimError.transparentImage` and
        ///   `EvimError.unsupportedColorSpace` for the image; `EvimError.notFinite` and Core ML's own errors.
        public func classify(_ image: CGImage, top: Int = 5) throws -> [Guess] {
            try classify(prepare(image), top: top)
        }

        /// Says what is on a camera's frame.
        ///
        /// - Parameters:
        ///   - buffer: Of any size and any format that VideoToolbox converts (32BGRA, 420f, 420v), upright.
        ///   - top: How many classes, if the model has as many.
        /// - Returns: The likeliest classes, the likeliest first.
        /// - Throws: As for an image.
        public func classify(_ buffer: CVPixelBuffer, top: Int = 5) throws -> [Guess] {
            try classify(prepare(buffer), top: top)
        }

        /// Says what is on an image that was prepared before: the likeliest classes, the likeliest first.
        ///
        /// - Throws: `EvimError.inputIsNotAnImage`, `EvimError.notAClassifier`, `EvimError.notFinite`,
        ///   `EvimError.usage` for an image that was prepared for a model of another size, and Core ML's own errors.
        public func classify(_ image: PreparedImage, top: Int = 5) throws -> [Guess] {
            try manifest.requireImageClassifier()
            let values = try outputs.values(of: model.prediction(from: input.features(of: image)))
            let probabilities = values["probabilities", default: []].map(Double.init)
            return try Classification.top(top, of: probabilities, labels: labels)
        }

        /// An image as the model takes it, made without waiting for the model.
        ///
        /// - Throws: `EvimError.inputIsNotAnImage`, and the errors of the image.
        public nonisolated func prepare(_ image: CGImage) throws -> PreparedImage {
            try input.requireImage()
            return try PreparedImage(
                cropping: image, width: input.width, height: input.height, as: manifest.preprocessing)
        }

        /// A camera's frame as the model takes it, made without waiting for the model.
        ///
        /// A pixel buffer must not leave the callback that it was given to; what this makes of it may.
        ///
        /// - Throws: `EvimError.inputIsNotAnImage`, and the errors of the image.
        public nonisolated func prepare(_ buffer: CVPixelBuffer) throws -> PreparedImage {
            try input.requireImage()
            return try PreparedImage(
                cropping: buffer, width: input.width, height: input.height, as: manifest.preprocessing)
        }
    }
#endif
