import Foundation
import Testing

@testable import EvimDemo

/// What Xcode put into the app's bundle.
@Suite struct BundleTests {
    @Test func theFolderOfModelsIsThere() {
        #expect(Bundle.main.url(forResource: "Models", withExtension: nil) != nil)
        #expect(Bundled.library.problems.isEmpty)
    }

    @Test func theFilesAppShowsResults() {
        // no INFOPLIST_KEY_ setting makes the first of the two, so that EvimDemo-Info.plist has them
        for key in ["UIFileSharingEnabled", "LSSupportsOpeningDocumentsInPlace"] {
            #expect(Bundle.main.object(forInfoDictionaryKey: key) as? Bool == true)
        }
    }

    @Test func theCameraIsAskedForWithAReason() {
        #expect(Bundle.main.object(forInfoDictionaryKey: "NSCameraUsageDescription") is String)
    }

    @Test func bothLanguagesAreThere() {
        #expect(Set(Bundle.main.localizations).isSuperset(of: ["en", "de"]))
    }

    @Test(.enabled(if: Bundled.hasModels, "\(Bundled.reason)"), arguments: Bundled.models)
    func aModelHasItsGoldenFile(_ model: BundledModel) throws {
        let golden = try #require(try model.golden())
        #expect(golden.weights == model.manifest.weights)
        #expect(golden.artifact == model.package.lastPathComponent)
    }
}
