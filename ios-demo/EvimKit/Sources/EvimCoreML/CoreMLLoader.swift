#if canImport(CoreML)
    import EvimCore
    import Foundation

    /// Loads one model for any compute units, and nothing but loads it: a benchmark times that.
    public struct CoreMLLoader: ModelLoader {
        private let compiled: CompiledModel
        private let function: String?

        /// Checks a package against its manifest file and compiles it, unless that was done before.
        ///
        /// - Parameters:
        ///   - url: An `.mlpackage` or an `.mlmodelc`.
        ///   - function: One of the functions of a package that has several; nil for its default.
        /// - Throws: `EvimError.damaged`, `EvimError.modelRefused`.
        public init(contentsOf url: URL, function: String? = nil) async throws {
            compiled = try await CompiledModel(contentsOf: url)
            self.function = function
        }

        /// The model, an ``EvimModel``.
        ///
        /// - Throws: As ``EvimModel/init(contentsOf:units:function:)``.
        public func load(_ units: ComputeUnits) async throws -> any LoadedModel {
            try await EvimModel(compiled, units: units, function: function)
        }
    }
#endif
