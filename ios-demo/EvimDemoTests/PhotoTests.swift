import CoreGraphics
import EvimCore
import EvimCoreML
import Foundation
import Testing
import UIKit

@testable import EvimDemo

/// Photos become what a model takes, whatever they were.
@MainActor @Suite struct PhotoTests {
    /// A PNG of one transparent pixel.
    private let transparent = """
        iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGPgEpFjAAAApQA9aZiIvAAAAABJRU5ErkJggg==
        """

    @Test func theSampleIsOpaqueAndOfItsOwnSize() throws {
        let data = try #require(NSDataAsset(name: "Sample")?.data)
        let image = try Photo(decoding: data).image
        #expect((image.width, image.height) == (256, 256))
        #expect(image.isOpaque)
    }

    @Test func transparentPixelsAreFlattened() throws {
        let data = try #require(Data(base64Encoded: transparent))
        #expect(try Photo(decoding: data).image.isOpaque)
    }

    @Test func whatIsNoImageIsRefused() {
        #expect(throws: PhotoError.unreadable) { try Photo(decoding: Data("no image".utf8)) }
    }

    @Test(.enabled(if: Bundled.hasModels, "\(Bundled.reason)"), arguments: Bundled.models)
    func aModelClassifiesTheSample(_ bundled: BundledModel) async throws {
        let data = try #require(NSDataAsset(name: "Sample")?.data)
        let model = try await EvimModel(contentsOf: bundled.package, units: .cpuOnly)
        let guesses = try await model.classify(photo: data)
        #expect(guesses.count == min(5, model.labels.names.count))
        #expect(guesses.map(\.probability) == guesses.map(\.probability).sorted(by: >))
    }
}

extension CGImage {
    fileprivate var isOpaque: Bool {
        [.none, .noneSkipFirst, .noneSkipLast].contains(alphaInfo)
    }
}
