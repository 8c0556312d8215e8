// What these mean is said in TensorFlow Lite's own documentation: https://ai.google.dev/edge/litert/ios/quickstart

@_exported import Foundation

public final class Interpreter {
    public struct Options: Equatable, Hashable, Sendable {
        public var threadCount: Int?
        public init() { fatalError("a declaration") }
    }

    public convenience init(modelPath: String, options: Options? = nil) throws { fatalError("a declaration") }
    public func allocateTensors() throws { fatalError("a declaration") }
    @discardableResult
    public func copy(_ data: Data, toInputAt index: Int) throws -> Tensor { fatalError("a declaration") }
    public func invoke() throws { fatalError("a declaration") }
    public func output(at index: Int) throws -> Tensor { fatalError("a declaration") }
}

public struct Tensor {
    public let data: Data
}
