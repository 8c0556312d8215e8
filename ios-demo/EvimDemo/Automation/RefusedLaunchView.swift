import Foundation
import SwiftUI

/// Says which launch argument was not understood, here and on the standard output, and ends the app.
struct RefusedLaunchView: View {
    let failure: Failure

    var body: some View {
        List {
            FailureView(failure: failure)
        }
        .task {
            Console.write("failed: \(failure.message)")
            exit(EXIT_FAILURE)
        }
    }
}
