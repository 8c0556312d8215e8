#if canImport(CoreML)
    import CoreML
    import EvimCore

    extension CompiledModel {
        /// The model, ready to predict.
        ///
        /// - Throws: `EvimError.missingFunction`, `EvimError.modelRefused`.
        func load(_ units: ComputeUnits, function: String?) async throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = MLComputeUnits(units)
            do {
                if let function {
                    try await select(function, in: configuration)
                }
                return try await MLModel.load(contentsOf: url, configuration: configuration)
            } catch let error as EvimError {
                throw error
            } catch {
                forget()
                throw EvimError.modelRefused(name: name, why: error.localizedDescription)
            }
        }

        /// Chooses one of the functions of a package by its name.
        private func select(_ function: String, in configuration: MLModelConfiguration) async throws {
            guard #available(iOS 18, macOS 15, *) else {
                throw EvimError.functionsNotSupported(name: function)
            }
            let available = try await MLModelAsset(url: url).functionNames
            configuration.functionName = try FunctionName.require(function, among: available)
        }
    }

    extension MLComputeUnits {
        fileprivate init(_ units: ComputeUnits) {
            switch units {
            case .all: self = .all
            case .cpuOnly: self = .cpuOnly
            case .cpuAndGPU: self = .cpuAndGPU
            case .cpuAndNeuralEngine: self = .cpuAndNeuralEngine
            }
        }
    }
#endif
