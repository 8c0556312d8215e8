import Observation

/// What all screens share: the models in the app's bundle, and the one that is looked at.
@MainActor
@Observable
final class AppModel {
    /// The models that were found, and those that could not be read.
    let library: ModelLibrary

    /// The name of the model that all screens are about.
    var selection: BundledModel.ID?

    /// That model; nil where the bundle has none.
    var selected: BundledModel? {
        library.models.first { $0.id == selection }
    }

    init(library: ModelLibrary = .bundled) {
        self.library = library
        selection = library.models.first?.id
    }
}
