import PhotosUI
import SwiftUI

/// Classifies the sample, a photo, or what the camera sees.
struct ClassifyView: View {
    let model: BundledModel
    @State private var classifier = Classifier()
    @State private var source = ImageSource.sample
    @State private var item: PhotosPickerItem?

    var body: some View {
        NavigationStack {
            List {
                Section {
                    ModelPicker()
                    Picker("Image", selection: $source) {
                        ForEach(ImageSource.allCases) { source in
                            Text(source.title).tag(source)
                        }
                    }
                    .pickerStyle(.segmented)
                    if source == .photo {
                        PhotosPicker("Choose a photo", selection: $item, matching: .images)
                    }
                }
                Section {
                    PictureView(source: source, image: classifier.image, camera: classifier.camera)
                }
                Section("Likeliest classes") {
                    answer
                }
            }
            .navigationTitle("Classify")
            .untrainedWarning(for: model)
        }
        .task(id: ClassifyRequest(model: model, source: source, item: item)) { [classifier, model, source, item] in
            await classifier.answer(ClassifyRequest(model: model, source: source, item: item))
        }
    }

    @ViewBuilder private var answer: some View {
        if let failure = classifier.failure {
            FailureView(failure: failure)
        } else if source == .photo, item == nil {
            Text("No photo was chosen.").foregroundStyle(.secondary)
        } else if classifier.guesses.isEmpty, classifier.isWorking {
            ProgressView("Loading the model")
        } else {
            ForEach(classifier.guesses) { guess in
                GuessRow(guess: guess)
            }
        }
    }
}
