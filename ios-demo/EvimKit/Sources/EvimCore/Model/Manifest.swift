import Foundation

/// What a model says of itself: what it was made from, what it takes and what it gives.
///
/// The document that `evim_deploy/artifact/manifest.py` describes, as far as an app needs it: in the model's
/// own metadata under `evim_deploy.manifest`, and in a file beside the package, which says its size and hash as well.
public struct Manifest: Codable, Equatable, Sendable {
    /// Schema versions in which everything that is read here means the same.
    public static let readableVersions = 1...2

    /// Of Core ML packages (`exporters/__init__.py`).
    public static let precisions = ["fp16", "fp32", "int8", "pal8", "pal6", "pal4", "w8a8", "int4"]

    /// Version of the document's schema.
    public let schemaVersion: Int
    /// Always `coreml`: manifests of other formats are refused.
    public let format: String
    /// Of weights and computation, one of `precisions`.
    public let precision: String
    /// Canonical name of the network, `efficientvim_m4` or `efficientvim_m4_dist`.
    public let model: String
    /// `classify` or `features`.
    public let task: String
    /// `probabilities`, `logits` or `features`.
    public let output: String
    /// Size of the images that it takes, pixels.
    public let resolution: Resolution
    /// Images in one prediction.
    public let batch: Int
    /// Whether it takes RGB pixels 0-255 rather than a normalised tensor.
    public let preprocess: Bool
    /// How its network is evaluated.
    public let preprocessing: Preprocessing
    /// Classes that it tells apart; nil for features.
    public let numClasses: Int?
    /// Of its labels as Python's `json.dumps` writes them (hex); nil for features and in schema version 1.
    public let labelsSHA256: String?
    /// What it was made from.
    public let weights: Weights
    /// What it takes; never empty.
    public let inputs: [Port]
    /// What it gives; never empty.
    public let outputs: [Port]
    /// Those of a package that has several, the default one first; else empty.
    public let functions: [Function]
    /// Name of the package; nil in the model's own metadata.
    public let artifact: String?
    /// Size of the package; nil in the model's own metadata.
    public let sizeBytes: Int?
    /// Of the package (hex), as `evim_deploy/common/publish.py` computes it; nil in the model's own metadata.
    public let sha256: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case format, precision, model, task, output, resolution, batch, preprocess, weights, inputs, outputs, functions
        case artifact, sha256, preprocessing
        case schemaVersion = "schema_version"
        case numClasses = "num_classes"
        case labelsSHA256 = "labels_sha256"
        case sizeBytes = "size_bytes"
    }

    /// Reads a manifest.
    ///
    /// - Throws: `EvimError.newerSchema` for a version to come, which is found before anything else is looked at;
    ///   `EvimError.damaged` for whatever else is wrong, a size that is `dynamic` included.
    public init(decoding json: Data) throws(EvimError) {
        let what = "The manifest"
        try requireReadableVersion(of: json, within: Self.readableVersions, what: what)
        self = try decode(Self.self, from: json, what: what)
    }

    /// Reads a manifest and checks it, apart from its version.
    ///
    /// - Throws: `DecodingError`.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        schemaVersion = try values.decode(Int.self, forKey: .schemaVersion)
        format = try values.decode(String.self, forKey: .format, among: ["coreml"])
        precision = try values.decode(String.self, forKey: .precision, among: Self.precisions)
        model = try values.decode(String.self, forKey: .model)
        task = try values.decode(String.self, forKey: .task, among: Self.outputsOfTasks.keys.sorted())
        output = try values.decode(String.self, forKey: .output, among: Self.outputsOfTasks[task] ?? [])
        resolution = try values.decode(Resolution.self, forKey: .resolution)
        batch = try values.decodeLength(forKey: .batch)
        preprocess = try values.decode(Bool.self, forKey: .preprocess)
        preprocessing = try values.decodeIfPresent(Preprocessing.self, forKey: .preprocessing) ?? .paper
        numClasses = task == "classify" ? try values.decodeLength(forKey: .numClasses) : nil
        labelsSHA256 = try values.decodeIfPresent(String.self, forKey: .labelsSHA256)
        weights = try values.decode(Weights.self, forKey: .weights)
        inputs = try values.decodePorts(forKey: .inputs)
        outputs = try values.decodePorts(forKey: .outputs)
        functions = try values.decodeIfPresent([Function].self, forKey: .functions) ?? []
        artifact = try values.decodeIfPresent(String.self, forKey: .artifact)
        sizeBytes = try values.decodeIfPresent(Int.self, forKey: .sizeBytes)
        sha256 = try values.decodeIfPresent(String.self, forKey: .sha256)
    }

    /// Whether it takes an image rather than an array of numbers.
    public var takesImage: Bool { inputs.first?.dtype == "image" }

    /// Size of the images that a function takes, pixels; of the default one for nil.
    public func resolution(of function: String?) -> Resolution {
        functions.first { $0.name == function }?.resolution ?? resolution
    }

    /// Refuses a model that an app cannot show a photograph to, or that does not say what is on it.
    ///
    /// - Throws: `EvimError.inputIsNotAnImage`, `EvimError.notAClassifier`.
    public func requireImageClassifier() throws(EvimError) {
        if let input = inputs.first, !takesImage {
            throw .inputIsNotAnImage(name: input.name, takes: input.words)
        }
        guard output == "probabilities" else { throw .notAClassifier(output: output) }
    }

    /// What each task may give (`evim_deploy/artifact/manifest.py`).
    static let outputsOfTasks = ["classify": ["logits", "probabilities"], "features": ["features"]]
}

extension KeyedDecodingContainer {
    /// A word that must be one of a few.
    func decode(_ type: String.Type, forKey key: Key, among choices: [String]) throws -> String {
        let word = try decode(type, forKey: key)
        try require(
            choices.contains(word), forKey: key, "\"\(word)\" is none of \(choices.joined(separator: ", "))")
        return word
    }

    /// A whole number of at least 1.
    fileprivate func decodeLength(forKey key: Key) throws -> Int {
        let length = try decode(Int.self, forKey: key)
        try require(length >= 1, forKey: key, "\(length) is no length")
        return length
    }

    fileprivate func decodePorts(forKey key: Key) throws -> [Manifest.Port] {
        let ports = try decode([Manifest.Port].self, forKey: key)
        try require(!ports.isEmpty, forKey: key, "there are none")
        return ports
    }
}
