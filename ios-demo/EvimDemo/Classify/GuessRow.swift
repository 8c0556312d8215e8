import EvimCore
import SwiftUI

/// A class and how sure the model is of it, as a bar.
struct GuessRow: View {
    let guess: Guess

    var body: some View {
        ProgressView(value: min(max(guess.probability, 0), 1)) {
            LabeledContent {
                Text(verbatim: Format.percent(guess.probability)).monospacedDigit()
            } label: {
                Text(verbatim: guess.label)
            }
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(Text(verbatim: guess.label))
        .accessibilityValue(Text(verbatim: Format.percent(guess.probability)))
    }
}
