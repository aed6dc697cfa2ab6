# Starts one life of the server: under strace where a file says with which options.
# A shell and not Python, which would double the time that a start takes. With exec
# and strace -D the process that the manager started is the server's own.
cd "$FAULTS_DIRECTORY" || exit 1
read -r life < count-server
life=$((life + 1))
echo "$life" > count-server
if [ -r "strace-server-$life" ]; then
    # Unquoted: one option a word.
    exec strace -DD $(cat "strace-server-$life") "$@"
fi
exec "$@"
