package android.content.res;

public final class AssetManager implements AutoCloseable {
    public native void close();
}
