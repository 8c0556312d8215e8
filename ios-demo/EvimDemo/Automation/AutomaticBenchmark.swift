import EvimCore
import Foundation
import Observation

/// All that a launch with `--benchmark` asks for, one run after another, without any touch.
@MainActor
@Observable
final class AutomaticBenchmark {
    let session = BenchmarkSession()
    /// The names of the files that were written.
    private(set) var written: [String] = []

    private let library: ModelLibrary
    private let plan: LaunchArguments
    private let folder = ResultsFolder.documents

    init(library: ModelLibrary, plan: LaunchArguments) {
        self.library = library
        self.plan = plan
    }

    /// Measures, and tells each file on the standard output.
    ///
    /// - Returns: The process's exit status: 0 if everything was measured, else 1.
    func run() async -> Int32 {
        do {
            let models = try chosen()
            let requests = try plan.requests()
            for model in models {
                for request in requests { try await measure(request, of: model) }
            }
        } catch {
            let failure = Failure(error)
            Console.write("failed: \([failure.message, failure.remedy].compactMap(\.self).joined(separator: " "))")
            return EXIT_FAILURE
        }
        Console.write("done")
        return EXIT_SUCCESS
    }

    private func chosen() throws(EvimError) -> [BundledModel] {
        let models = library.models.filter { plan.model == nil || [$0.name, $0.manifest.model].contains(plan.model) }
        guard models.isEmpty else { return models }
        let names = library.models.map(\.name).joined(separator: ", ")
        throw .usage("The app has no model \(plan.model ?? "at all"). It has \(names.isEmpty ? "none" : names).")
    }

    private func measure(_ request: BenchmarkRequest, of model: BundledModel) async throws {
        let results = try await session.run(request, of: model)
        let file = try folder.write(results, of: model)
        written.append(file.lastPathComponent)
        Console.write("wrote \(file.path)")
        if let reason = results.incompleteBecause {
            throw EvimError.usage("\(file.lastPathComponent) is incomplete: \(reason).")
        }
        guard results.contenders.contains(where: { $0.outcome == .measured }) else {
            throw EvimError.usage("Nothing in \(file.lastPathComponent) could be measured; it says why.")
        }
    }
}
