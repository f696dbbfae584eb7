#!/bin/sh
# A printer for CUPS (backend(7)): valijatest:DIRECTORY writes each document to DIRECTORY/JOB.pdf, and to JOB.about what it was
# told. As long as there is a file "trouble" there, it does not print, and says what the file says. A file "supplies" has the
# attributes that it tells of its supplies.
[ $# -gt 0 ] || { echo 'direct valijatest "Unknown" "A printer for tests"'; exit 0; }
directory=${DEVICE_URI#valijatest:}
[ ! -r "$directory/supplies" ] || sed 's/^/ATTR: /' "$directory/supplies" >&2
if [ -e "$directory/trouble" ]; then
  reason=$(cat "$directory/trouble")
  echo "STATE: +$reason" >&2
  while [ -e "$directory/trouble" ]; do sleep 0.1; done
fi
echo "STATE: none" >&2  # also after a job that was cancelled in trouble
cat "${6:--}" >"$directory/$1.pdf" || exit 1
printf '%s\n%s\n%s\n' "$3" "$4" "$5" >"$directory/$1.new"
mv "$directory/$1.new" "$directory/$1.about"
echo "PAGE: total 1" >&2
