import EvimCore
import EvimCoreML
import Observation
import PhotosUI
import SwiftUI
import UIKit

/// Classifies what a request names, and holds what the screen shows of it.
@MainActor
@Observable
final class Classifier {
    private(set) var guesses: [Guess] = []
    private(set) var image: UIImage?
    private(set) var failure: Failure?
    private(set) var isWorking = true
    let camera = Camera()

    private var loaded: (bundled: BundledModel, model: EvimModel)?

    /// Answers a request: once for a photo, and for the camera until the task is cancelled.
    func answer(_ request: ClassifyRequest) async {
        (guesses, image, failure) = ([], nil, nil)
        isWorking = true
        defer { if !Task.isCancelled { isWorking = false } }
        do {
            let model = try await model(for: request.model)
            switch request.source {
            case .sample: try await classify(NSDataAsset(name: "Sample")?.data, with: model)
            case .photo: try await classify(request.item?.loadTransferable(type: Data.self), with: model)
            case .camera: try await classifyFrames(with: model)
            }
        } catch {
            // what a later request replaced concerns nobody
            if !Task.isCancelled { failure = Failure(error) }
        }
    }

    private func model(for bundled: BundledModel) async throws -> EvimModel {
        if let loaded, loaded.bundled == bundled { return loaded.model }
        loaded = nil
        let model = try await EvimModel(contentsOf: bundled.package)
        loaded = (bundled, model)
        return model
    }

    private func classify(_ data: Data?, with model: EvimModel) async throws {
        guard let data else { return }
        try Task.checkCancellation()
        image = UIImage(data: data)
        show(try await model.classify(photo: data))
    }

    private func classifyFrames(with model: EvimModel) async throws {
        try await camera.run(for: model) { frame in
            await self.show(try await model.classify(frame))
        }
    }

    private func show(_ found: [Guess]) {
        if !Task.isCancelled { guesses = found }
    }
}
