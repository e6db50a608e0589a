-- Everyone with an account. The platform grows: of every two people here, one came in the last quarter of its life.

-- stage: users
select setseed(0.11);
insert into users (email, full_name, country, locale, time_zone, roles, settings, newsletter, birth_year, avatar,
                   created_at, updated_at, last_seen_at, deactivated_at)
select
    lower(translate(first_name, 'éüöäçñøåßáíóúłěš ', 'euoacnoasaioules') || '.' || translate(last_name, 'éüöäçñøåßáíóúłěš'' ', 'euoacnoasaioules'))
        || person || '@' || pg_temp.one_of('{example.com,example.org,example.net,mail.example.com,school.example.org}'),
    first_name || ' ' || last_name,
    place[1], place[2], place[3],
    case when person <= pg_temp.scaled(60, 0.5) then '{learner,teacher}'::text[]
         when random() < 0.002 then '{learner,staff}' else '{learner}' end,
    jsonb_build_object('theme', pg_temp.one_of('{light,light,light,dark,system}'), 'speed', round((1 + random())::numeric, 1),
        'captions', random() < 0.3, 'reminders', jsonb_build_object('weekday', floor(random() * 7)::int, 'hour', 17 + floor(random() * 5)::int)),
    random() < 0.34,
    case when random() < 0.8 then 2008 - floor(60 * power(random(), 1.7))::int end,
    case when random() < 0.05 then decode(repeat(md5(person::text), 12), 'hex') end,
    created_at, created_at,
    created_at + (now() - created_at) * power(random(), 0.6),
    case when random() < 0.03 then now() - random() * (now() - created_at) end
from (
    select
        person,
        pg_temp.one_of('{Anna,Amara,Ben,Björn,Carla,Chen,Chiara,Daniel,Diego,Elena,Emre,Fatima,Femi,Freya,Giulia,Hana,Hiroshi,Ines,Ivan,Jakub,
            Jana,Jonas,Kofi,Laura,Leïla,Lena,Liam,Lucas,Maja,Marek,Maria,Mateo,Mei,Miguel,Mila,Mohamed,Nadia,Ngozi,Noah,Nora,Olga,Omar,
            Paula,Pedro,Priya,Rahul,Renée,Rosa,Sam,Sara,Sofia,Søren,Tariq,Thandi,Tomás,Uwe,Vera,Wei,Yara,Yusuf,Zoë}') as first_name,
        pg_temp.one_of('{Adeyemi,Almeida,Andersson,Bauer,Becker,Bianchi,Brown,Castro,Chen,Costa,Da Silva,Diallo,Dubois,Dvořák,Fernández,Ferrari,
            Fischer,García,Haddad,Hansen,Hoffmann,Horváth,Ito,Jansen,Jensen,Johnson,Khan,Kim,Kowalski,Kumar,Lefèvre,Li,Lopez,Martin,Mbeki,
            Meyer,Moreau,Müller,Nakamura,Nguyen,Nowak,O''Brien,Okafor,Patel,Petrov,Popescu,Rossi,Sánchez,Sato,Schmidt,Schneider,Silva,Singh,
            Smith,Svensson,Tanaka,Virtanen,Wagner,Wang,Weber,Yilmaz,Zhang}') as last_name,
        string_to_array(pg_temp.one_of('{DE de Europe/Berlin,DE de Europe/Berlin,DE de Europe/Berlin,AT de Europe/Vienna,FR fr Europe/Paris,
            FR fr Europe/Paris,ES es Europe/Madrid,ES es Europe/Madrid,IT it Europe/Rome,PL pl Europe/Warsaw,GB en Europe/London,
            GB en Europe/London,US en America/New_York,US en America/New_York,US en America/Los_Angeles,BR pt America/Sao_Paulo,
            IN en Asia/Kolkata,IN en Asia/Kolkata,NG en Africa/Lagos,JP ja Asia/Tokyo}'), ' ') as place,
        date_trunc('day', now()) - interval '400 days' + interval '400 days' * power(person::float8 / pg_temp.scaled(20000), 0.5)
            - interval '1 day' + pg_temp.time_of_day() as created_at
    from generate_series(1, pg_temp.scaled(20000)) as person
) people;
