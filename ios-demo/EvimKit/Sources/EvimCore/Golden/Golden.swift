import Foundation

/// Images and what a model must answer to them, computed on Linux by PyTorch in float32.
///
/// The file `NAME.mlpackage.golden.safetensors` that `evim-deploy export -f coreml --golden` writes. It also has a
/// control: answers of the same model with disturbed weights, which a comparison must refuse if it is worth anything.
public struct Golden: Sendable {
    /// How far outputs may be from the expected ones, of the output's range.
    public struct Tolerance: Decodable, Equatable, Sendable {
        /// The largest error that passes.
        public let maxAbs: Double
        /// The largest mean error that passes.
        public let meanAbs: Double

        enum CodingKeys: String, CodingKey {
            case maxAbs = "max_abs"
            case meanAbs = "mean_abs"
        }

        /// Allows errors up to these.
        public init(maxAbs: Double, meanAbs: Double) {
            self.maxAbs = maxAbs
            self.meanAbs = meanAbs
        }
    }

    /// One image for the model.
    public struct Case: Equatable, Sendable {
        /// As the model takes it.
        public enum Input: Equatable, Sendable {
            /// RGB pixels 0-255 of shape (height, width, 3).
            case pixels([UInt8])
            /// Normalised values of shape (3, height, width).
            case values([Float])
        }

        /// What it is called.
        public let name: String
        /// The image itself.
        public let input: Input
    }

    /// Name of the package that the file belongs to.
    public let artifact: String
    /// Of that package (hex).
    public let artifactSHA256: String
    /// Name of the network, `efficientvim_m4`.
    public let model: String
    /// `probabilities`, `logits` or `features`.
    public let output: String
    /// The images, at least one, each name once.
    public let cases: [Case]
    /// Of the images, pixels.
    public let height: Int
    /// Of the images, pixels.
    public let width: Int
    /// What the model was made from.
    public let weights: Manifest.Weights
    /// What is allowed.
    public let tolerance: Tolerance
    /// Which weights were disturbed for the control and by how much, a sentence.
    public let control: String
    /// What the comparison says of the control: a failure, if the comparison can fail at all.
    public let controlParity: Parity

    private let reference: Reference

    /// Reads a golden file.
    ///
    /// - Throws: `EvimError.newerSchema` for a version to come; `EvimError.damaged` for whatever else is wrong.
    public init(decoding data: Data) throws(EvimError) {
        let file = try Safetensors(decoding: data)
        guard let text = file.metadata[GoldenDocument.metadataKey] else {
            throw .damaged(what: GoldenDocument.what, why: "it does not say what it is")
        }
        let document = try GoldenDocument(decoding: Data(text.utf8))
        artifact = document.artifact
        artifactSHA256 = document.artifactSHA256
        model = document.model
        output = document.output
        weights = document.weights
        tolerance = document.tolerance
        control = document.control
        let images = try GoldenImages(file: file, document: document)
        (cases, height, width) = (images.cases, images.height, images.width)
        reference = try Reference(file: file, document: document)
        let disturbed = try reference.outputs(named: "control", in: file)
        controlParity = try reference.compare(disturbed, tolerance: tolerance)
    }

    /// Compares a model's outputs with the expected ones.
    ///
    /// - Parameter outputs: For each case in order, its values by output; shapes are as in the golden file, and only
    ///   the number of values is checked. Outputs that the golden file does not have are left out.
    /// - Returns: What was found; its status is `cannotFail` instead of `pass` where the control passes as well.
    /// - Throws: `EvimError.outputShape` where an output is missing or of another size.
    public func compare(_ outputs: [[String: [Float]]]) throws(EvimError) -> Parity {
        let parity = try reference.compare(outputs, tolerance: tolerance)
        return controlParity.status == .pass ? parity.provingNothing : parity
    }
}
