package ai.onnxruntime;

import java.util.Map;
import java.util.Optional;

public class OrtSession implements AutoCloseable {
    private OrtSession() {}
    public native Result run(Map<String, OnnxTensor> inputs) throws OrtException;
    public native void close() throws OrtException;

    public static class SessionOptions implements AutoCloseable {
        public native void close();
    }

    public static class Result implements AutoCloseable {
        private Result() {}
        public native OnnxValue get(int index);
        public native Optional<OnnxValue> get(String key);
        public native void close();
    }
}
