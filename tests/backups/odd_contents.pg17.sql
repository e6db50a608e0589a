grant maintain on counted to :reader;
create collation "Odd".codepoints (provider = builtin, locale = 'C.UTF-8');
