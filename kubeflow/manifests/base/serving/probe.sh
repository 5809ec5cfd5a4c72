#!/bin/bash
# Asks TensorFlow Serving on this machine for a prediction of its stable version.
#
#     bash probe.sh MODEL FOLDER [PORT]
#
# MODEL is the model's name, FOLDER that of its versions, PORT that of REST. Exits with 0 where the
# version answers. The request is the version's own: assets.extra/probe.json, which the Pusher makes
# of its warm-up requests. A version without that file need only be loaded. The image of TensorFlow
# Serving has bash, but no curl: bash opens the connections itself.
export LC_ALL=C # lengths are bytes
model=$1 folder=$2 port=${3:-8501}
seconds=4 # for each answer
names_version='"version": *"?([0-9]+)'

fail() {
    echo "$1" >&2
    exit 1
}

ask() { # METHOD PATH BODY; leaves the connection in descriptor 3, and the status line in $status
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf '%s\r\n' "$1 /v1/models/$model$2 HTTP/1.1" 'Host: localhost' 'Connection: close' \
        'Content-Type: application/json' "Content-Length: ${#3}" '' >&3
    printf '%s' "$3" >&3
    IFS= read -r -t "$seconds" status <&3
}

ask GET /labels/stable/metadata ''
[[ $status == *' 200 '* ]] || fail "no stable version: ${status:-no answer}"
version=
while [[ -z $version ]] && { IFS= read -r -t "$seconds" line <&3 || [[ -n $line ]]; }; do
    [[ $line =~ $names_version ]] && version=${BASH_REMATCH[1]}
done
exec 3>&-
[[ -n $version ]] || fail 'the answer names no version'

body=$folder/$version/assets.extra/probe.json
[[ -f $body ]] || exit 0
ask POST "/versions/$version:predict" "$(<"$body")"
[[ $status == *' 200 '* ]] || fail "version $version does not predict: ${status:-no answer}"
