import SwiftUI

/// Chooses among the bundled models; nothing where there is no choice.
struct ModelPicker: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        @Bindable var app = app
        if app.library.models.count > 1 {
            Picker("Model", selection: $app.selection) {
                ForEach(app.library.models) { model in
                    Text(verbatim: model.name).tag(Optional(model.id))
                }
            }
        }
    }
}
