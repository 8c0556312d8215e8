// What these mean is said in ONNX Runtime's own documentation: https://onnxruntime.ai/docs/api/objectivec/

@_exported import Foundation

public enum ORTLoggingLevel: Int32, Sendable {
    case verbose, info, warning, error, fatal
}

public enum ORTTensorElementDataType: Int32, Sendable {
    case undefined, float
}

public class ORTEnv {
    public init(loggingLevel: ORTLoggingLevel) throws { fatalError("a declaration") }
}

public class ORTSessionOptions {
    public init() throws { fatalError("a declaration") }
}

public class ORTRunOptions {
    public init() throws { fatalError("a declaration") }
}

public class ORTSession {
    public init(env: ORTEnv, modelPath path: String, sessionOptions: ORTSessionOptions?) throws {
        fatalError("a declaration")
    }
    public func run(
        withInputs inputs: [String: ORTValue], outputNames: Set<String>, runOptions: ORTRunOptions?
    ) throws -> [String: ORTValue] { fatalError("a declaration") }
}

public class ORTValue {
    public init(tensorData: NSMutableData, elementType: ORTTensorElementDataType, shape: [NSNumber]) throws {
        fatalError("a declaration")
    }
    public func tensorData() throws -> NSMutableData { fatalError("a declaration") }
}
