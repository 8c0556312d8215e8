import Foundation

/// What went wrong, why, and what to do about it.
///
/// Each case is something that a person can act on; `errorDescription` is the cause and
/// `recoverySuggestion` the remedy.
public enum EvimError: Error, Equatable, Sendable {
    /// A file or a document in a model is not what it should be.
    case damaged(what: String, why: String)
    /// A manifest, golden or results file is of a schema version that this EvimKit does not read.
    case newerSchema(what: String, version: Int, readable: Int)
    /// A model has more or fewer labels than classes.
    case labelCount(found: Int, expected: Int)
    /// A model package does not have the function that was asked for.
    case missingFunction(name: String, available: [String])
    /// The system is too old to choose a function.
    case functionsNotSupported(name: String)
    /// A model takes something else than an image.
    case inputIsNotAnImage(name: String, takes: String)
    /// A model gives no probabilities of classes.
    case notAClassifier(output: String)
    /// An image has no pixels.
    case emptyImage(width: Int, height: Int)
    /// An image is so narrow that scaling it would fill the memory.
    case imageTooNarrow(width: Int, height: Int)
    /// An image has transparent pixels, and nothing says what is behind them.
    case transparentImage
    /// An image is neither RGB nor grey.
    case unsupportedColorSpace(name: String)
    /// A model's output has values that are not numbers.
    case notFinite(output: String, count: Int)
    /// An output is missing, or of another size than it should be.
    case outputShape(output: String, found: Int?, expected: Int)
    /// A clock told an earlier time than before, or the same.
    case clockWentBackwards(seconds: Double)
    /// A launch argument or a figure of a benchmark cannot be met.
    case usage(String)
    /// Core ML refused a model.
    case modelRefused(name: String, why: String)
}

extension EvimError: LocalizedError {
    /// The cause, in a sentence.
    public var errorDescription: String? {
        switch self {
        case .damaged(let what, let why): "\(what) is damaged: \(why)."
        case .newerSchema(let what, let version, let readable):
            "\(what) is of schema version \(version); this EvimKit reads up to \(readable)."
        case .labelCount(let found, let expected): "The model has \(expected) classes and \(found) labels."
        case .missingFunction(let name, let available):
            "The model has no function \(name); it has \(available.isEmpty ? "only one" : available.joined(separator: ", "))."
        case .functionsNotSupported(let name): "The function \(name) cannot be chosen on this system."
        case .inputIsNotAnImage(let name, let takes): "The model's input \(name) takes \(takes), not an image."
        case .notAClassifier(let output): "The model gives \(output), not probabilities of classes."
        case .emptyImage(let width, let height): "An image of \(width)x\(height) has no pixels."
        case .imageTooNarrow(let width, let height): "An image of \(width)x\(height) is too narrow a strip."
        case .transparentImage: "The image has transparent pixels."
        case .unsupportedColorSpace(let name): "The image is in the colour space \(name), neither RGB nor grey."
        case .notFinite(let output, let count): "\(count) values of the model's output \(output) are not numbers."
        case .outputShape(let output, .none, _): "The model does not give the output \(output)."
        case .outputShape(let output, .some(let found), let expected):
            "The model's output \(output) has \(found) values instead of \(expected)."
        case .clockWentBackwards(let seconds): "The clock said that a prediction took \(seconds) s."
        case .usage(let cause): cause
        case .modelRefused(let name, let why): "Core ML does not load \(name): \(why)"
        }
    }

    /// What to do about it, in a sentence.
    public var recoverySuggestion: String? {
        switch self {
        case .damaged:
            "Use an intact copy; evim-deploy export -f coreml --golden writes a model and what lies beside it anew."
        case .labelCount, .outputShape: "Export the model again: evim-deploy export -f coreml --golden."
        case .newerSchema: "Use the EvimKit that came with the evim-deploy which wrote it."
        case .missingFunction: "Name one of the model's functions, or none for its default."
        case .functionsNotSupported: "Name none, for the default one, or use iOS 18, macOS 15 or later."
        case .inputIsNotAnImage: "Export it with batch 1 and without --no-preprocess."
        case .notAClassifier: "Export it with --task classify and --output probabilities."
        case .emptyImage: "Choose another image."
        case .imageTooNarrow: "Crop it first."
        case .transparentImage: "Draw it onto an opaque background first."
        case .unsupportedColorSpace: "Convert it to sRGB first."
        case .notFinite: "Load the model for the CPU alone, or export it with --precision fp32."
        case .clockWentBackwards: "Measure again; if it happens again the device's clock cannot be used."
        case .usage: "See ios-demo/MEASURING.md for what the app can be told."
        case .modelRefused: "Check that it was exported for this system's version, and that the package is whole."
        }
    }
}
