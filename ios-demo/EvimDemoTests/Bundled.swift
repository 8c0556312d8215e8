@testable import EvimDemo

/// The models in the app that hosts these tests.
enum Bundled {
    static let library = ModelLibrary.bundled
    static let models = library.models
    static let hasModels = !models.isEmpty
    /// Why tests of models are skipped.
    static let reason = "The app bundles no models: run make ios-demo, then build it again."
}
