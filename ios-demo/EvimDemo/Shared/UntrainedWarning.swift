import SwiftUI

/// Says on every screen, for as long as it is true, that a model's weights were never trained.
struct UntrainedWarning: View {
    var body: some View {
        Label {
            VStack(alignment: .leading) {
                Text("Untrained weights").font(.headline)
                Text("The answers mean nothing. Times are those of the trained model.").font(.callout)
            }
        } icon: {
            Image(systemName: "exclamationmark.triangle.fill")
        }
        .frame(maxWidth: .infinity, alignment: .leading)
        .padding()
        .background(.yellow.opacity(0.3))
        .background(.background)
        .accessibilityElement(children: .combine)
    }
}

extension View {
    /// Keeps the warning above a screen's content where the model's weights are untrained.
    @ViewBuilder
    func untrainedWarning(for model: BundledModel) -> some View {
        if model.manifest.weights.trained {
            self
        } else {
            safeAreaInset(edge: .top, spacing: 0) { UntrainedWarning() }
        }
    }
}
