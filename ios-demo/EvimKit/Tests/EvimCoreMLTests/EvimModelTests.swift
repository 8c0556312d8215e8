import Testing

#if canImport(CoreML)
    import CoreGraphics
    import EvimCore
    import EvimCoreML
    import Foundation

    @Suite(.serialized, .enabled(if: !DemoModels.packages.isEmpty, DemoModels.reason))
    struct EvimModelTests {
        @Test(arguments: DemoModels.packages, ComputeUnits.allCases)
        func agreesWithLinux(package: URL, units: ComputeUnits) async throws {
            let golden = try DemoModels.golden(of: package)
            let model = try await EvimModel(contentsOf: package, units: units)

            let answers = try await model.outputs(of: golden)

            let parity = try golden.compare(answers)
            #expect(parity.status == .pass, "\(parity)")
            #expect(golden.controlParity.status == .fail)
        }

        /// A check that a wrong answer passes would prove nothing: here each image gets its neighbour's answer.
        @Test(arguments: DemoModels.packages)
        func refusesAnotherImagesAnswer(package: URL) async throws {
            let golden = try DemoModels.golden(of: package)
            let model = try await EvimModel(contentsOf: package)
            let answers = try await model.outputs(of: golden)
            try #require(answers.count > 1)

            let parity = try golden.compare(Array(answers.dropFirst()) + answers.prefix(1))

            #expect(parity.status == .fail)
        }

        @Test(arguments: DemoModels.packages, ComputeUnits.allCases)
        func classifiesOrSaysWhyNot(package: URL, units: ComputeUnits) async throws {
            let model = try await EvimModel(contentsOf: package, units: units)
            let photo = try TestImage.opaque(width: 640, height: 480)

            guard model.manifest.takesImage, model.manifest.output == "probabilities" else {
                let error = try await refusal { _ = try await model.classify(photo) }
                #expect(error != nil)
                return
            }
            let guesses = try await model.classify(photo, top: 3)
            #expect(guesses.map(\.probability) == guesses.map(\.probability).sorted(by: >))
            #expect(guesses.count == 3)
            #expect(guesses.allSatisfy { model.labels.names[$0.index] == $0.label })
        }

        @Test(arguments: DemoModels.packages, ComputeUnits.allCases)
        func timesABurst(package: URL, units: ComputeUnits) async throws {
            let model = try await CoreMLLoader(contentsOf: package).load(units)

            let samples = try await model.time(Burst(leastSamples: 5), by: SystemClock())

            #expect(samples.count == 5)
            #expect(samples.allSatisfy { $0 > 0 })
        }

        @Test(arguments: DemoModels.packages)
        func missingFunctionIsRefused(package: URL) async throws {
            let error = try await refusal { _ = try await EvimModel(contentsOf: package, function: "nowhere") }

            guard case .missingFunction("nowhere", _) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }

        @Test(arguments: DemoModels.packages)
        func damagedWeightsAreRefused(package: URL) async throws {
            let files = FileManager.default
            let folder = files.temporaryDirectory.appending(path: UUID().uuidString, directoryHint: .isDirectory)
            try files.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? files.removeItem(at: folder) }
            let copy = folder.appending(path: package.lastPathComponent, directoryHint: .isDirectory)
            try files.copyItem(at: package, to: copy)
            try files.copyItem(at: package.appendingPathExtension("json"), to: copy.appendingPathExtension("json"))
            let file = copy.appending(path: "Data/com.apple.CoreML/weights/weight.bin")
            var weights = try Data(contentsOf: file)
            weights[weights.count / 2] ^= 1
            try weights.write(to: file)

            let error = try await refusal { _ = try await EvimModel(contentsOf: copy) }

            guard case .damaged(package.lastPathComponent, _) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }

        /// Without the files beside it, as someone drags it into a project of their own.
        @Test(arguments: DemoModels.packages)
        func lonePackageKnowsItself(package: URL) async throws {
            let files = FileManager.default
            let copy = files.temporaryDirectory.appending(path: "\(UUID().uuidString).mlpackage")
            try files.copyItem(at: package, to: copy)
            defer { try? files.removeItem(at: copy) }

            let (model, original) = (try await EvimModel(contentsOf: copy), try await EvimModel(contentsOf: package))

            #expect(model.manifest == original.manifest)
            #expect(model.labels == original.labels)
            #expect(model.sha256 == original.sha256)
        }
    }
#else
    @Test(.disabled("not run on this host: Core ML exists on Apple's systems alone"))
    func coreML() {}
#endif
