// swift-format-ignore-file: AllPublicDeclarationsHaveDocumentation
// What these mean is said in Apple's own documentation.

@_exported import AppleFoundation
@_exported import CoreVideo

/// A compiled model.
public class MLModel {
    public class func load(
        contentsOf url: URL, configuration: MLModelConfiguration = MLModelConfiguration()
    ) async throws -> MLModel { fatalError("a declaration") }
    public class func compileModel(at url: URL) async throws -> URL { fatalError("a declaration") }
    public var modelDescription: MLModelDescription { fatalError("a declaration") }
    public func prediction(from input: any MLFeatureProvider) throws -> any MLFeatureProvider {
        fatalError("a declaration")
    }
    public func prediction(
        from input: any MLFeatureProvider, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider { fatalError("a declaration") }
}

/// How predictions are made.
public class MLPredictionOptions {
    public init() { fatalError("a declaration") }
}

/// Where a model computes.
public enum MLComputeUnits: Int, Sendable {
    case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine
}

/// How a model is loaded.
public class MLModelConfiguration {
    public init() { fatalError("a declaration") }
    public var computeUnits: MLComputeUnits {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
    public var functionName: String? {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
}

/// A compiled model that is not loaded.
public class MLModelAsset {
    public convenience init(url compiledModelURL: URL) throws { fatalError("a declaration") }
    public var functionNames: [String] { get async throws { fatalError("a declaration") } }
}

/// What a model takes and gives.
public class MLModelDescription {
    public var inputDescriptionsByName: [String: MLFeatureDescription] { fatalError("a declaration") }
    public var outputDescriptionsByName: [String: MLFeatureDescription] { fatalError("a declaration") }
    public var predictedProbabilitiesName: String? { fatalError("a declaration") }
    public var metadata: [MLModelMetadataKey: Any] { fatalError("a declaration") }
}

/// A key of a model's metadata.
public struct MLModelMetadataKey: RawRepresentable, Hashable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { fatalError("a declaration") }
    public static let creatorDefinedKey = MLModelMetadataKey(rawValue: "")
}

/// The kind of a feature.
public enum MLFeatureType: Int, Sendable {
    case invalid, int64, double, string, image, multiArray, dictionary, sequence, state
}

/// What a feature may be.
public class MLFeatureDescription {
    public var type: MLFeatureType { fatalError("a declaration") }
    public var imageConstraint: MLImageConstraint? { fatalError("a declaration") }
    public var multiArrayConstraint: MLMultiArrayConstraint? { fatalError("a declaration") }
}

/// What an image may be.
public class MLImageConstraint {
    public var pixelsHigh: Int { fatalError("a declaration") }
    public var pixelsWide: Int { fatalError("a declaration") }
}

/// What an array may be.
public class MLMultiArrayConstraint {
    public var shape: [NSNumber] { fatalError("a declaration") }
}

/// Gives features by name.
public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for featureName: String) -> MLFeatureValue?
}

/// Features in a dictionary.
public class MLDictionaryFeatureProvider: MLFeatureProvider {
    public init(dictionary: [String: Any]) throws { fatalError("a declaration") }
    public var featureNames: Set<String> { fatalError("a declaration") }
    public func featureValue(for featureName: String) -> MLFeatureValue? { fatalError("a declaration") }
}

/// A value of a feature.
public class MLFeatureValue {
    public convenience init(pixelBuffer value: CVPixelBuffer) { fatalError("a declaration") }
    public convenience init<Scalar: MLShapedArrayScalar>(shapedArray: MLShapedArray<Scalar>) {
        fatalError("a declaration")
    }
    public var dictionaryValue: [AnyHashable: NSNumber] { fatalError("a declaration") }
    public var multiArrayValue: MLMultiArray? { fatalError("a declaration") }
}

/// An array of Core ML.
public class MLMultiArray {}

/// A number in an array.
public protocol MLShapedArrayScalar {}
extension Float: MLShapedArrayScalar {}

/// An array of numbers.
public struct MLShapedArray<Scalar: MLShapedArrayScalar> {
    public init(data: Data, shape: [Int]) { fatalError("a declaration") }
    public init(converting multiArray: MLMultiArray) { fatalError("a declaration") }
    public var scalars: [Scalar] {
        get { fatalError("a declaration") }
        set { fatalError("a declaration") }
    }
}
